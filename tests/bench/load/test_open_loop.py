"""The open loop shows the truth: stalls and lost connections appear in its results."""

from __future__ import annotations

import asyncio

from bench.load.connection import http
from bench.load.open_loop import LOST, OpenLoop
from tests.bench.load.answering import server


async def test_an_open_loop_goes_on_while_the_server_stalls_and_counts_the_wait() -> None:
    """The server answers nobody until thirty wait, which are planned over 0.29 s."""
    over, waiting = asyncio.Event(), 0

    async def answer() -> bytes:
        nonlocal waiting
        waiting += 1
        if waiting == 30:
            over.set()
        await over.wait()
        return b"{}"

    async with server(answer) as port:
        answers = await OpenLoop("127.0.0.1", port, [http("POST", "/", {})], rate=100).run(0.6, 20.0)
    assert len(answers) == 60
    early = [answer for answer in answers if answer.planned < 0.295]
    assert len(early) == 30
    assert all(answer.planned + answer.took >= 0.29 for answer in early)


async def test_an_open_loop_notes_each_request_whose_connection_goes_away() -> None:
    async def answer() -> bytes:
        return b""

    async with server(answer) as port:
        answers = await OpenLoop("127.0.0.1", port, [http("POST", "/", {})], rate=200).run(0.1, 5.0)
    assert [answer.status for answer in answers] == [LOST] * 20
