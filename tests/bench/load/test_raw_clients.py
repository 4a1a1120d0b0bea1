"""Bare sockets as clients: every request is sent as it was made, and every answer is read to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.load.raw_clients import RawClients

OKAY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def server(answer: list[bytes]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers each request, which has no body, with these pieces; none hangs up. Yields its port and what it read."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                if not answer:
                    break
                for piece in answer:
                    writer.write(piece)
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], seen


REQUESTS = [f"GET /{index} HTTP/1.1\r\n\r\n".encode() for index in range(8)]


async def test_each_request_is_sent_in_turn_and_answers_in_pieces_count_once() -> None:
    async with server([OKAY[:20], OKAY[20:]]) as (port, seen):
        clients = RawClients(port, REQUESTS, 4)
        result = await asyncio.to_thread(clients.run, 0.1, 1.0, lambda: 0.0)
    assert set(seen) == set(REQUESTS)
    assert 0 < result.answers < len(seen)
    assert not result.errors
    assert 0 < result.p50_ms <= result.p99_ms


async def test_other_statuses_are_errors() -> None:
    async with server([OKAY.replace(b"200", b"429")]) as (port, _):
        with pytest.raises(RuntimeError, match=r"nothing was answered: \{'status 429'"):
            await asyncio.to_thread(RawClients(port, REQUESTS, 2).run, 0.0, 0.2, lambda: 0.0)


async def test_a_connection_that_is_closed_shows() -> None:
    async with server([]) as (port, _):
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(RawClients(port, REQUESTS, 2).run, 0.0, 2.0, lambda: 0.0)
