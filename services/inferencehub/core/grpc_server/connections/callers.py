"""What the callers of a gRPC port hold of the process's memory, and who is ended to make room."""

from __future__ import annotations

from collections.abc import Callable

from inferencehub.core.grpc_server.connections.arriving import Arriving
from inferencehub.core.grpc_server.connections.tcp import Connections
from inferencehub.core.grpc_server.connections.unread import UnreadAnswers
from inferencehub.core.http1.handler import Budget
from inferencehub.core.http1.limits import Limits


class Callers:
    """See the module's text.

    Args:
        port: returns the port.
        limits: the time that callers have, the same as over HTTP.
        budget: the process's budget of bytes.
    """

    def __init__(self, port: Callable[[], int], limits: Limits, budget: Budget) -> None:
        connections = Connections(port)
        self.unread = UnreadAnswers(connections, limits, budget)
        self.arriving = Arriving(connections, limits.body_timeout_s, budget, limits.tick_s)

    def relieve(self, fits: Callable[[], bool]) -> None:
        """End connections until `fits()` is true: those that do not read, then those with most of half messages."""
        self.unread.relieve(fits)
        self.arriving.relieve(fits)
