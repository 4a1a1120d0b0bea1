"""A failure of what speaks through TLS ends its connection, whenever it gets its bytes."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.connection import TlsConnection
from inferencehub.core.tls.handshakes import Handshakes
from tests.authority import Authority


class Failing(asyncio.BufferedProtocol):
    """It fails with its first bytes, or with those that waited while it paused reading."""

    def __init__(self, pauses: bool, ended: asyncio.Event) -> None:
        self.pauses = pauses
        self.ended = ended
        self.transport: Any = None
        self.place = memoryview(bytearray(100))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.place

    def buffer_updated(self, size: int) -> None:
        if not self.pauses:
            raise RuntimeError("it cannot read this")
        self.pauses = False
        self.transport.pause_reading()
        asyncio.get_running_loop().call_later(0.05, self.transport.resume_reading)

    def eof_received(self) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_failure_of_the_reader_ends_the_connection(tmp_path: Path, pauses: bool) -> None:
    authority, ended = Authority(tmp_path, "authority"), asyncio.Event()
    certificate = Certificate("HUB_TLS", *map(str, authority.signed("server")))
    shared = Handshakes(certificate, 60.0, 9, set(), lambda: Failing(pauses, ended))
    loop, said = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: said.append(str(context.get("exception"))))
    server = await loop.create_server(lambda: TlsConnection(shared), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="server")
    try:
        writer.write(bytes(500))
        async with asyncio.timeout(20):
            await ended.wait()
        assert said == ["it cannot read this"]
    finally:
        writer.transport.abort()
        server.close()
