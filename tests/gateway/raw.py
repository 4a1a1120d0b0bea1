"""HTTP/1.1 by hand, for bytes that no client library would send: parts of requests, rubbish, bodies without an end."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass
class Answer:
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def request(method: str, path: str, body: bytes | None = None, *headers: str) -> bytes:
    """A request's bytes; `headers` are whole lines. The length of a body is told unless a header tells it."""
    lines = [f"{method} {path} HTTP/1.1", "host: hub", *headers]
    if body is not None and not any(
        line.lower().startswith(("content-length", "transfer-")) for line in headers
    ):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class Raw:
    """One connection: `async with Raw(port) as raw`; through TLS to "localhost" if `tls` is given."""

    def __init__(
        self, port: int, made: socket.socket | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.port = port
        self.tls: dict[str, Any] = {"ssl": tls, "server_hostname": "localhost"} if tls is not None else {}
        self.made = made  # the connection if it is there already
        self.sent = 0

    async def __aenter__(self) -> Self:
        if self.made is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, **self.tls)
        else:
            self.reader, self.writer = await asyncio.open_connection(sock=self.made, **self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send bytes, waiting where the other side does not read."""
        self.writer.write(data)
        await self.writer.drain()
        self.sent += len(data)

    async def read(self, within_s: float = 60.0) -> Answer:
        """The next answer."""
        async with asyncio.timeout(within_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = [line.split(": ", 1) for line in head[1:] if line]
            headers = {name.lower(): value for name, value in pairs}
            if headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            else:
                body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split(" ")[1]), headers, body)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readline() == b"\r\n"
        return body

    async def ask(self, method: str, path: str, body: bytes | None = None, *headers: str) -> Answer:
        """Send a request and read its answer."""
        return await self.ask_again(request(method, path, body, *headers))

    async def ask_again(self, whole: bytes) -> Answer:
        """Send a request that was made before, and read its answer."""
        await self.send(whole)
        return await self.read()

    async def closed(self, within_s: float = 30.0) -> bytes:
        """What still came until the other side closed; fails where it does not."""
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""
