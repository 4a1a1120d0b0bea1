"""What the callers of a gRPC port hold of the memory."""

from __future__ import annotations

from typing import NamedTuple

from inferencehub.core.grpc_server.connections.half_messages import HalfMessages
from inferencehub.core.grpc_server.connections.unread import UnreadAnswers


class Callers(NamedTuple):
    """See the module's text."""

    unread: UnreadAnswers
    half: HalfMessages

    def carried(self) -> tuple[int, int]:
        """Bytes of messages that came and of answers that went since the start."""
        return self.half.came, self.unread.went
