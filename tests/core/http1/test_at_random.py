"""Requests that are damaged, cut and abandoned at random: the server never fails, and keeps nothing of them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from inferencehub.core.http1.handler import Reply, Request
from inferencehub.core.lane.byte_budget import ByteBudget
from tests.core.http1.server import RUN, Echo, serving
from tests.core.http1.test_cut_anywhere import GOOD, LAST
from tests.gateway.raw import request

pytestmark = pytest.mark.long

LARGE = (
    request("POST", "/held", b"abc"), request("GET", "/big?3000000"), request("GET", "/eager?40"),
    request("POST", "/", b"x" * 9_000), request("POST", "/", b"y" * 50_000),
)  # fmt: skip
CORPUS = (*GOOD.values(), *LAST.values(), *LARGE)
PUT_IN = (b"\r\n", b"\n", b"\r", b"\0", b" ", b"\r\n\r\n", b"0", b",", b":")
# Short, so that all of them are met.
LIMITS: dict[str, Any] = {
    "linger_s": 0.05, "header_timeout_s": 0.2, "body_timeout_s": 0.2, "keep_alive_s": 0.3, "write_timeout_s": 0.3,
    "tick_s": 0.05, "relief_s": 0.01,
}  # fmt: skip
ROUNDS, AT_ONCE = 10, 25


class Patient(Echo):
    """An `Echo` whose queries may be damaged too, and that releases held answers by itself."""

    def begin(self, request: Request, reply: Reply) -> None:
        if request.head.path in (b"/big", b"/eager") and not request.head.query.isdigit():
            request.head.target = b"/"
        super().begin(request, reply)
        if self.held:
            asyncio.get_running_loop().call_later(0.02, self.let_one_go)

    def let_one_go(self) -> None:
        if self.held:
            self.let_go()


def damaged(whole: bytes, random: Random) -> bytes:
    """A request with some bytes changed, left out, put in, or cut off; or as it is."""
    data = bytearray(whole)
    for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
        at = random.randrange(len(data) + 1)
        match random.randrange(5):
            case 0:
                data[at : at + 1] = random.randbytes(1)
            case 1:
                del data[at : at + random.choice((1, 2, 10))]
            case 2:
                data[at:at] = random.choice(PUT_IN)
            case 3:
                data[at:at] = data[max(0, at - 10) : at]
            case _:
                del data[at:]
    return bytes(data)


async def one_caller(port: int, random: Random) -> None:
    """Send a few, in pieces, and leave in one way or another."""
    data = b"".join(damaged(random.choice(CORPUS), random) for _ in range(random.choice((1, 2, 5, 30))))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    at = 0
    while at < len(data) and not writer.transport.is_closing():
        size = random.choice((1, 3, 20, 200, 5_000, 100_000))
        writer.write(data[at : at + size])
        at += size
        await asyncio.sleep(0)
    way = random.randrange(3)
    if way == 0:
        await asyncio.sleep(random.random() * 0.3)
    elif way == 1:
        with suppress(OSError):  # a time that is over is one, too
            await asyncio.wait_for(reader.read(100_000), 0.2)
    writer.transport.abort()


async def everything(seed: int) -> None:
    """Many callers at once, again and again; `serving` holds that no connection and no byte is left."""
    random = Random(seed)
    budget = ByteBudget(random.choice((200_000, 2_000_000, 10**9)))
    limits = LIMITS | {"max_head_bytes": random.choice((600, 65_536)), "max_turn": random.choice((1, 4, 16))}
    async with serving(Patient(60_000), budget, **limits) as server:
        for _ in range(ROUNDS):
            callers = [one_caller(server.port, random) for _ in range(AT_ONCE)]
            for outcome in await asyncio.gather(*callers, return_exceptions=True):
                assert outcome is None or isinstance(outcome, OSError)
        async with asyncio.timeout(60):
            while server.connections:  # each ends by its own limits  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert budget.held == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loop", RUN)
def test_nothing_fails_and_nothing_is_left(loop: str, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "asyncio"):
        RUN[loop](everything(seed))
    assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]
