"""Requests may be cut anywhere and follow one another in any order: the answers are the same as without cuts.

The corpus goes through a socket pair; a real server has accepted the other end, in a running event loop. The test
compares all bytes that come back until the connection closes, except the date.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import ssl
from itertools import permutations

import pytest
import uvloop

from tests.core.http1.server import Echo, serving
from tests.gateway.raw import request

pytestmark = pytest.mark.long

OFFER = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AA")
CHUNKED = "transfer-encoding: chunked"
GOOD = {
    "get": request("GET", "/a?b=c"),
    "post": request("POST", "/", b"{}\r\n\r\n{}"),
    "empty": request("POST", "/", b""),
    "equal": request("GET", "/", None, "a: 1", "A: 2 ", "b:"),
    "chunks": request("POST", "/", b"", CHUNKED) + b"3;x=y\r\na\r\n\r\n5\r\n\r\n\r\n!\r\n0\r\nt: 1\r\n\r\n",
    "offer": request("POST", "/", b"abc", *OFFER),
    "offered": request("POST", "/", b"", CHUNKED, *OFFER) + b"2\r\nab\r\n0\r\n\r\n",
    "gzip": request("POST", "/", gzip.compress(b"packed", mtime=0), "content-encoding: gzip"),
    "lines": b"\r\n\r\n" + request("GET", "/lines"),
    "refused": request("POST", "/refused", b"abcdef"),
    "coding": request("POST", "/", b"abcdef", "content-encoding: br"),
    "large": request("POST", "/", b"", CHUNKED) + b"40\r\n" + b"x" * 64 + b"\r\n" + b"2\r\nyy\r\n0\r\n\r\n",
    "head": request("HEAD", "/"),
    "body": request("GET", "/", b"unwanted"),
    "absolute": request("GET", "http://hub:80/x"),
}
LAST = {
    "close": request("POST", "/", b"ab", "connection: close"),
    "1.0": b"POST / HTTP/1.0\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nab",
    "rubbish": b"rubbish\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "lengths": b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
    "coding": b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks": request("POST", "/", b"", CHUNKED) + b"2\r\nabc\r\n0\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nhost: h\r\na: 1\r\n 2\r\n\r\n",
    "2.0": b"GET / HTTP/2.0\r\nhost: h\r\n\r\n",
    "connect": b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n",
    "huge": b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"x" * 700 + b"\r\n\r\n",
}
END = request("POST", "/end", b"", "connection: close")
DATE = re.compile(rb"date: [^\r]*\r\n")
MOST = 60  # bytes of a body


async def answers(port: int, *parts: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """All that comes back for these parts, each sent once the one before was taken in by the server.

    Through TLS each part is a record of its own.
    """
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None
    )
    try:
        for part in parts:
            writer.write(part)
            for _ in range(3):  # the server is on this loop: by then it has read what was sent
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            return DATE.sub(b"", await reader.read())
    finally:
        writer.transport.abort()


CASES = [one + END for one in GOOD.values()] + [GOOD["post"] + one for one in LAST.values()]


def statuses(came: bytes) -> list[bytes]:
    """The statuses of all answers."""
    return re.findall(rb"HTTP/1\.1 (\d+) ", came)


async def _cut_at_every_byte() -> None:
    async with serving(Echo(MOST), max_head_bytes=600, linger_s=0.05) as server:
        for whole in CASES:
            expected = await answers(server.port, whole)
            assert len(statuses(expected)) == 2, expected
            cuts = range(1, len(whole))
            for at in range(0, len(cuts), 64):
                found = await asyncio.gather(
                    *[answers(server.port, whole[:cut], whole[cut:]) for cut in cuts[at : at + 64]]
                )
                for cut, came in zip(cuts[at:], found, strict=False):
                    assert came == expected, (whole, cut)


async def _one_byte_at_a_time() -> None:
    async with serving(Echo(MOST), max_head_bytes=600, linger_s=0.05) as server:
        whole = b"".join(GOOD.values()) + END
        expected = await answers(server.port, whole)
        assert len(statuses(expected)) == len(GOOD) + 1
        for size in (1, 2, 3, 5, 7, 100):
            parts = [whole[at : at + size] for at in range(0, len(whole), size)]
            assert await answers(server.port, *parts) == expected, size


async def _in_every_order() -> None:
    async with serving(Echo(MOST), max_head_bytes=600, linger_s=0.05) as server:
        alone = {}
        for name, one in GOOD.items():
            came, end = await answers(server.port, one + END), await answers(server.port, END)
            assert came.endswith(end)
            alone[name] = came.removesuffix(end)
        for last in LAST.values():
            end = await answers(server.port, last)
            assert len(statuses(end)) == 1, end
            orders = list(permutations(GOOD, 2))
            for at in range(0, len(orders), 70):
                found = await asyncio.gather(
                    *[answers(server.port, GOOD[a] + GOOD[b] + last) for a, b in orders[at : at + 70]]
                )
                for (a, b), came in zip(orders[at:], found, strict=False):
                    assert came == alone[a] + alone[b] + end, (a, b, last)


def test_cut_at_every_byte() -> None:
    uvloop.run(_cut_at_every_byte())


def test_one_byte_at_a_time() -> None:
    asyncio.run(_one_byte_at_a_time())


def test_in_every_order() -> None:
    uvloop.run(_in_every_order())
