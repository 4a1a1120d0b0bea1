"""How a connection is read: all into one buffer, but a body that comes in pieces straight into its place.

uvicorn's connection class gets a copy of whatever came, which is what a parser wants; a large body would be copied
twice that way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferencehub.gateway.http_api.connection import Connection
    from inferencehub.gateway.http_api.gathered import GatheredBody

BUFFER = memoryview(
    bytearray(2**16)
)  # of all connections: what is put there is taken out before anything else is read


class Reading(asyncio.BufferedProtocol):
    """What a connection's transport calls.

    Args:
        connection: whose it is.
    """

    __slots__ = ("body", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.body: GatheredBody | None = None  # that comes in pieces

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes are to be put."""
        return BUFFER if self.body is None else self.body.place()

    def buffer_updated(self, size: int) -> None:
        """They are there."""
        if self.body is None:
            self.connection.data_received(bytes(BUFFER[:size]))
        else:
            self.body.read(size)

    def eof_received(self) -> None:
        """The caller sends nothing more."""
        self.connection.eof_received()

    def pause_writing(self) -> None:
        """The caller does not read."""
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        """The caller does again."""
        self.connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.connection.connection_lost(error)
        # Both have this, and would be left to the collector.
        self.body = None
        del self.connection
