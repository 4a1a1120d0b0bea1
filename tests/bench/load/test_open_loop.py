"""The open loop shows the truth: stalls and lost connections appear in its results."""

from __future__ import annotations

import asyncio

import pytest

from bench.load.connection import http
from bench.load.open_loop import LOST, OpenLoop
from tests.bench.load.answering import server


@pytest.mark.timing
async def test_an_open_loop_goes_on_while_the_server_stalls_and_counts_the_wait() -> None:
    stalled = asyncio.Event()

    async def answer() -> bytes:
        await stalled.wait()
        return b"{}"

    async with server(answer) as port:
        asyncio.get_running_loop().call_later(0.5, stalled.set)
        answers = await OpenLoop("127.0.0.1", port, [http("POST", "/", {})], rate=100).run(0.6, 5.0)
    assert len(answers) == 60
    early = [answer for answer in answers if answer.planned < 0.295]
    assert len(early) == 30
    assert all(abs(answer.planned + answer.took - 0.5) < 0.25 for answer in early)


async def test_an_open_loop_notes_each_request_whose_connection_goes_away() -> None:
    async def answer() -> bytes:
        return b""

    async with server(answer) as port:
        answers = await OpenLoop("127.0.0.1", port, [http("POST", "/", {})], rate=200).run(0.1, 5.0)
    assert [answer.status for answer in answers] == [LOST] * 20
