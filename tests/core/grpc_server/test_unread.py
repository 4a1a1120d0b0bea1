"""Callers over gRPC that stop reading: they lose their connection as over HTTP, and nothing of their answers is kept."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import pytest

from inferencehub.core.grpc_server.server import GrpcServer, options
from inferencehub.core.grpc_server.streams.infer_stream import Write
from inferencehub.core.grpc_server.streams.infer_streams import InferStreams
from inferencehub.core.grpc_server.unary import unary
from inferencehub.core.http1.limits import Limits
from inferencehub.core.lane.byte_budget import ByteBudget
from tests.h2_caller import H2Caller, h2_caller
from tests.hub import eventually

LARGE = 4_000_000
UNARY, STREAM = "/a.B/Unary", "/a.B/Stream"
PATHS = (UNARY, STREAM)
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much was read"),
    pytest.mark.long,
]


class Answering:
    """A server whose answers have the size that the request says."""

    def __init__(self, **limits: Any) -> None:
        self.budget = ByteBudget(64_000_000)
        self.server = GrpcServer(0, options(2**26, 2**26), Limits(**limits), self.budget)
        self.budget.relieve = self.server.callers.unread.relieve
        self.ended = 0
        self.waiting = 0
        self.go = asyncio.Event()
        self.go.set()

    async def answer(self, data: bytes, context: Any) -> bytes:
        """A unary call."""
        context.add_done_callback(self._end)
        return bytes(int(data))

    async def streamed(self, data: bytes, context: Any, write: Write) -> bytes:
        """A call of a stream; it waits while the test says so."""
        self.waiting += 1
        await self.go.wait()
        return bytes(int(data))

    def _end(self, _: Any) -> None:
        self.ended += 1

    @property
    def port(self) -> int:
        """The port."""
        return self.server.port


@asynccontextmanager
async def answering(**limits: Any) -> AsyncIterator[Answering]:
    """A server that has begun."""
    found = Answering(**{"tick_s": 0.05, **limits})
    streams = InferStreams(found.streamed, 4, found.budget, found.server.callers)
    methods = {
        "Unary": unary(found.answer, None, 2**26, found.budget, found.server.callers),
        "Stream": streams.handler(),
    }
    await found.server.start([grpc.method_handlers_generic_handler("a.B", methods)])
    try:
        yield found
    finally:
        await found.server.stop(0)


def ask(caller: H2Caller, path: str, size: int) -> int:
    """Ask for an answer of some size."""
    return caller.call(path, b"%d" % size)


def came(caller: H2Caller, number: int, more_than: int) -> bool:
    """Whether so much of an answer has come, or all of it."""
    return len(caller.data[number]) > more_than or number in caller.ended


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_caller_that_reads_nothing_loses_its_connection(
    path: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        answering(write_timeout_s=3.0) as server,
        h2_caller(server.port, host) as one,
        h2_caller(server.port, host) as another,
    ):
        for _ in range(3):
            ask(one, path, LARGE)
        await eventually(lambda: server.budget.held >= 3 * LARGE)
        await one.until_lost()
        await eventually(lambda: server.budget.held == 0)
        another.read()
        number = ask(another, path, LARGE)
        assert (await another.until(number))["grpc-status"] == "0"
        assert len(another.data[number]) == LARGE + 5
    assert not caplog.records, "a caller's end is nothing for the log"


@pytest.mark.parametrize("path", PATHS)
async def test_a_caller_that_reads_slowly_keeps_its_connection(path: str) -> None:
    """It takes 2 MB in steps, each within the limit, and all of them together in more than that."""
    async with answering(write_timeout_s=3.0) as server, h2_caller(server.port) as caller:
        number = ask(caller, path, LARGE)
        loop, taken = asyncio.get_running_loop(), 0
        began = loop.time()
        while loop.time() - began < 8:
            await eventually(partial(came, caller, number, taken))
            step, taken = len(caller.data[number]) - taken, len(caller.data[number])
            caller.h2.acknowledge_received_data(step, number)
            await asyncio.sleep(0.5)
            caller._flush()
        assert not caller.lost
        caller.read()
        assert (await caller.until(number))["grpc-status"] == "0"
        assert len(caller.data[number]) == LARGE + 5
        await eventually(lambda: server.budget.held == 0)


async def test_a_connection_is_not_ended_while_any_of_its_callers_reads() -> None:
    """One answer is not read, and small ones beside it are, for longer than the limit."""
    async with answering(write_timeout_s=2.0) as server, h2_caller(server.port) as caller:
        caller.h2.increment_flow_control_window(
            2**30
        )  # of the connection alone: each answer has its own window
        unread = ask(caller, UNARY, 200_000)
        loop = asyncio.get_running_loop()
        until = loop.time() + 8
        while loop.time() < until:
            number = ask(caller, UNARY, 15_000)
            assert (await caller.until(number))["grpc-status"] == "0"
        assert unread not in caller.ended
        assert server.budget.held == 200_000
        await caller.until_lost()


async def test_a_steady_download_is_not_ended_to_make_room() -> None:
    async with (
        answering(write_timeout_s=1000.0, relief_s=0.0) as server,
        h2_caller(server.port) as caller,
        h2_caller(server.port) as another,
    ):
        server.budget.limit = 6_000_000
        caller.h2.increment_flow_control_window(2**30)
        another.read()
        number, taken = ask(caller, UNARY, 5_000_000), 0
        while number not in caller.ended:
            await eventually(partial(came, caller, number, taken))
            step, taken = len(caller.data[number]) - taken, len(caller.data[number])
            if number not in caller.ended:
                caller.h2.increment_flow_control_window(step, number)
                caller._flush()
                small = ask(another, UNARY, 2_000_000)  # there is no room for it
                assert (await another.until(small))["grpc-status"] == "0"
        assert caller.trailers[number]["grpc-status"] == "0"
        assert len(caller.data[number]) == 5_000_000 + 5
        await eventually(lambda: server.budget.held == 0)


async def test_who_reads_nothing_makes_room_for_others() -> None:
    async with (
        answering(write_timeout_s=1000.0, relief_s=0.0) as server,
        h2_caller(server.port) as one,
        h2_caller(server.port) as another,
    ):
        for _ in range(3):
            ask(one, UNARY, 20_000_000)
        await eventually(lambda: server.budget.held >= 60_000_000)
        await asyncio.sleep(1.5)  # it has read nothing for long enough
        another.read()
        number = ask(another, UNARY, 20_000_000)
        await one.until_lost()
        assert (await another.until(number))["grpc-status"] == "0"
        await eventually(lambda: server.budget.held == 0)
        await eventually(lambda: server.ended == 4)
