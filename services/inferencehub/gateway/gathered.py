"""A body that comes in pieces, read from the socket straight into its place.

A parser gives each piece as a copy of its own, and the whole is a copy of the pieces. Once the head has told the size,
there is nothing left to parse: until the body is there, this is the connection's protocol instead.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inferencehub.core.errors import HubError

if TYPE_CHECKING:
    from inferencehub.gateway.connection import Connection
    from inferencehub.gateway.direct import Call


class GatheredBody(asyncio.BufferedProtocol):
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
        self._begun = len(data) - end
        self._body = bytearray(size)
        self._view = memoryview(self._body)
        self._view[: self._begun] = memoryview(data)[end:]

    def begin(self) -> None:
        """Read from now on."""
        self._connection.transport.set_protocol(self)
        self.buffer_updated(self._begun)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next piece is to be put."""
        return self._view[self.filled :]

    def buffer_updated(self, size: int) -> None:
        """A piece is there."""
        self.filled += size
        try:
            self.call.exchange.hold(size)
        except HubError:
            self._end(whole=False)
        else:
            if self.filled == len(self._body):
                self._end(whole=True)

    def _end(self, whole: bool) -> None:
        self._connection.transport.set_protocol(self._connection)
        self._view.release()
        body = self._body if whole else self._body[: self.filled]
        self._connection.gathered(self._head, body, whole)

    def eof_received(self) -> None:
        """The caller sends nothing more."""
        self._connection.eof_received()

    def pause_writing(self) -> None:
        """As asyncio calls it."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """As asyncio calls it."""
        self._connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._connection.connection_lost(error)
