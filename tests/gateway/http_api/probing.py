"""Sends shapes of requests over real sockets, and records the server's verdict on each.

Each shape has its own connection. A marker follows it in the same write: a good request with `Connection: close` and an
id that the answer repeats. If the connection is still usable, the marker is answered. If not, the connection closes
before, or the server waits, because it took the marker for a part of the shape.

Other requests show that a server waits; no clock is needed. All shapes are sent first. Then canaries (good requests on
new connections) are sent one after another, until several in a row are answered while no bytes come for any shape. A
server that answers later requests has nothing left to say to earlier ones.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Collection, Mapping

from tests.gateway.http_api.corpus.pieces import SIZED, get, post

MARKER = get(b"X-Request-Id: marker", b"Connection: close")
CANARY = post(SIZED, b"Connection: close")
QUIET_CANARIES = 5
HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
REFUSED = frozenset((400, 408, 411, 413, 414, 417, 426, 431, 501, 505))


class Probe(asyncio.Protocol):
    """One connection that sends its bytes once and keeps all that comes back."""

    def __init__(self, sent: bytes) -> None:
        self.sent = sent
        self.came = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send all, in one write."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.sent)

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self.came += data

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed, or broke off."""
        if not self.ended.done():
            self.ended.set_result(None)

    def statuses(self) -> list[int]:
        """The statuses of all answers."""
        return [int(status) for status, _ in HEAD.findall(self.came)]

    def verdict(self) -> str:
        """The answers before the marker's, each `accepted` or `refused`, and what became of the connection."""
        words: list[str] = []
        for status, fields in HEAD.findall(self.came):
            if b"x-request-id: marker" in fields.lower():
                return " ".join([*words, "usable"])
            words.append(word_for(int(status)))
        return " ".join([*words, "closed" if self.ended.done() else "waits"])


def word_for(status: int) -> str:
    """The class of an answer."""
    if status < 200:
        return "continue" if status == 100 else "switched"
    assert status not in (500, 502, 503, 504), status
    return "refused" if status in REFUSED else "accepted"


async def connect(port: int, sent: bytes, tls: ssl.SSLContext | None = None) -> Probe:
    """A connection that has begun to send; through TLS if `tls` is given."""
    loop = asyncio.get_running_loop()
    name = "localhost" if tls else None
    _, probe = await loop.create_connection(
        lambda: Probe(sent), "127.0.0.1", port, ssl=tls, server_hostname=name
    )
    return probe


async def verdicts(
    port: int, shapes: Mapping[str, bytes], tls: ssl.SSLContext | None = None
) -> dict[str, str]:
    """What the server at a port makes of each shape, by the shape's name."""
    probes = {name: await connect(port, shape + MARKER, tls) for name, shape in shapes.items()}
    await settled(port, probes.values(), tls)
    found = {name: probe.verdict() for name, probe in probes.items()}
    for probe in probes.values():
        probe.transport.abort()
    return found


async def settled(port: int, probes: Collection[Probe], tls: ssl.SSLContext | None = None) -> None:
    """Return once the server has nothing left to say to any of these connections."""
    quiet, seen = 0, -1
    while quiet < QUIET_CANARIES:
        await canary(port, tls)
        news = sum(len(probe.came) + probe.ended.done() for probe in probes)
        quiet, seen = (quiet + 1, seen) if news == seen else (0, news)


async def canary(port: int, tls: ssl.SSLContext | None = None) -> None:
    """A good request, answered."""
    probe = await connect(port, CANARY, tls)
    async with asyncio.timeout(60):
        await probe.ended
    assert probe.came.startswith(b"HTTP/1.1 200 "), probe.came
