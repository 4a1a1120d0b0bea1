"""A persistent HTTP/1.1 connection as a bare asyncio protocol, so small that it does not distort measurements.

It writes requests that were built before, and finds the end of an answer by its Content-Length.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class Sample:
    """A request and its right answer: the class, and the confidence that it got alone."""

    request: bytes
    class_id: int
    confidence: float


def http(method: str, path: str, body: object = None, close: bool = False, headers: str = "") -> bytes:
    """A whole HTTP/1.1 request; `body` becomes JSON, `headers` are further lines."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(content)}\r\n"
    more = "content-type: application/json\r\n" + ("connection: close\r\n" if close else "")
    return f"{head}{more}{headers}\r\n".encode() + content


async def ask(host: str, port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own.

    Raises:
        OSError: if nothing listens there.
    """
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(http(method, path, body, close=True))
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head[9:12] or 0), content


class Connection(asyncio.Protocol, ABC):
    """A persistent connection. Subclasses implement `answered` to use the answers."""

    transport: asyncio.Transport
    buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end].lower()
        at = head.find(b"content-length:")
        if end < 4 or (at >= 0 and len(data) < end + int(head[at + 15 : head.index(b"\r", at)])):
            self.buffer = data
            return
        self.buffer = b""
        self.answered(int(data[9:12]), data[end:])

    @abstractmethod
    def answered(self, status: int, body: bytes) -> None:
        """The whole answer is there."""
