"""A body that comes in pieces, read from the socket straight into its place (`reading.py`).

A parser gives each piece as a copy of its own, and the whole is a copy of the pieces. Once the head has told the size,
there is nothing left to parse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferencehub.core.values.buffers import room
from inferencehub.core.values.errors import HubError

if TYPE_CHECKING:
    from inferencehub.gateway.http_api.connection import Connection
    from inferencehub.gateway.http_api.direct import Call


class GatheredBody:
    """See the module's text.

    Args:
        connection: whose body it is.
        call: what it is for.
        data: the head, and what came with it.
        end: where the head ends.
        size: bytes of the whole body.

    `filled` says how many have come.
    """

    def __init__(self, connection: Connection, call: Call, data: bytes, end: int, size: int) -> None:
        self.call = call
        self.filled = 0
        self._connection = connection
        self._head = data[:end]
        self._body = room(size)
        self._begun = len(data) - end
        self._body[: self._begun] = memoryview(data)[end:]

    def place(self) -> memoryview:
        """Where the next piece is to be put."""
        return self._body[self.filled :]

    def read(self, size: int) -> None:
        """A piece is there."""
        size += self._begun
        self._begun = 0
        self.filled += size
        try:
            self.call.exchange.hold(size)
        except HubError:
            self._end(whole=False)
        else:
            if self.filled == len(self._body):
                self._end(whole=True)

    def _end(self, whole: bool) -> None:
        body = self._body if whole else self._body[: self.filled]
        self._connection.gathered(self._head, body, whole)
