"""Messages over gRPC that do not come whole: they count in the budget of bytes, and have a time and an amount."""

from __future__ import annotations

import asyncio
import sys
from secrets import token_hex

import pytest

from tests.core.grpc_server.test_unread import PATHS, answering
from tests.h2_caller import h2_caller
from tests.hub import eventually
from tests.ports import free_port

HALF = 3_000_000
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts the bytes")


@pytest.mark.parametrize("path", PATHS)
async def test_what_has_come_of_a_message_counts_until_it_is_whole(path: str) -> None:
    async with answering() as server, h2_caller(server.port) as caller:
        caller.read()
        numbers = [caller.call(path, b"7".rjust(HALF), HALF + 1) for _ in range(3)]
        await eventually(lambda: server.budget.held >= 3 * HALF)
        assert server.budget.held < 3.2 * HALF
        for number in numbers:
            await caller.rest(number, b"0")
            assert (await caller.until(number))["grpc-status"] == "0"
            assert len(caller.data[number]) == 75, "an answer of 70 bytes"
        await eventually(lambda: server.budget.held == 0)


@pytest.mark.parametrize("path", PATHS)
async def test_a_message_that_does_not_come_in_time_costs_its_connection(path: str) -> None:
    async with (
        answering(body_timeout_s=1.0) as server,
        h2_caller(server.port) as one,
        h2_caller(server.port) as another,
    ):
        one.call(path, bytes(HALF), HALF + 1)
        await one.until_lost()
        await eventually(lambda: server.budget.held == 0)
        another.read()
        number = another.call(path, b"70")
        assert (await another.until(number))["grpc-status"] == "0"
        assert not another.lost


async def test_a_connection_with_many_calls_and_pings_misses_nothing() -> None:
    """Whoever sends and reads much, in small pieces, is not taken for one who sends half a message."""
    async with answering(body_timeout_s=0.5) as server, h2_caller(server.port) as caller:
        caller.read()
        most = 0
        for turn in range(150):
            number = caller.call(PATHS[turn % 2], b"%d" % (turn * 1000), more="x" * 100)
            assert (await caller.until(number))["grpc-status"] == "0"
            most = max(most, server.budget.held)
        assert not caller.lost
        await eventually(lambda: server.budget.held == 0)
        assert most < 1_000_000


@pytest.mark.parametrize("path", PATHS)
async def test_large_headers_are_not_taken_for_half_messages(path: str) -> None:
    async with answering(body_timeout_s=0.5) as server, h2_caller(server.port) as caller:
        caller.read()
        most = 0
        for _ in range(150):
            number = caller.call(path, b"7", more=token_hex(3000))  # a new one each time, as traces are
            assert (await caller.until(number))["grpc-status"] == "0"
            most = max(most, server.budget.held)
        await asyncio.sleep(1)  # nothing may happen
        assert (most, server.budget.held, caller.lost) == (0, 0, False)


async def test_a_new_connection_from_an_old_address_misses_nothing() -> None:
    local = ("127.0.0.1", free_port())
    async with answering(body_timeout_s=0.5) as server:
        for pause_s in (0.0, 0.3, 0.0, 0.3):
            async with h2_caller(server.port, local=local) as caller:
                caller.read()
                for _ in range(3):
                    number = caller.call(PATHS[0], b"70".rjust(400_000))
                    assert (await caller.until(number))["grpc-status"] == "0"
                await asyncio.sleep(1)  # nothing may happen
                assert not caller.lost
            await asyncio.sleep(pause_s)  # the old one is seen to be gone, or not
        await eventually(lambda: server.budget.held == 0)


async def test_who_is_held_back_does_not_lose_the_connection() -> None:
    """A stream is not read while four of its requests run; what comes meanwhile waits in gRPC."""
    async with answering(body_timeout_s=0.5) as server, h2_caller(server.port) as caller:
        caller.read()
        server.go.clear()
        numbers = [caller.call(PATHS[1], b"70", end=False) for _ in range(8)]
        for number in numbers:
            for _ in range(3):
                await caller.rest(number, b"\0\0\0\0\x0270", end=False)
            caller.more(number, b"\0\0\x0f\x42\x40" + b"70".rjust(1_000_000))
        await eventually(lambda: server.waiting == 8 * 4)
        await eventually(lambda: server.budget.held > 0)
        await asyncio.sleep(2)  # nothing may happen
        assert not caller.lost
        server.go.set()
        for number in numbers:
            assert (await caller.until(number))["grpc-status"] == "0"
            assert len(caller.data[number]) == 5 * 75
        await eventually(lambda: server.budget.held == 0)


async def test_half_messages_without_end_are_bounded_by_the_budget() -> None:
    """Eight connections send 20 MB each of messages that never end, into a budget of 64 MB."""
    async with answering(body_timeout_s=1000.0) as server:
        connections = [h2_caller(server.port) for _ in range(8)]
        callers = [await one.__aenter__() for one in connections]
        try:
            for caller in callers:
                for _ in range(5):
                    caller.call(PATHS[0], bytes(4_000_000), 40_000_000)
            await eventually(lambda: sum(caller.lost for caller in callers) >= 5)
            await eventually(lambda: server.budget.held <= server.budget.limit)
            assert not all(caller.lost for caller in callers)
            async with h2_caller(server.port) as another:
                another.read()
                number = another.call(PATHS[0], b"1000000")
                assert (await another.until(number))["grpc-status"] == "0"
        finally:
            await asyncio.gather(*[one.__aexit__(None, None, None) for one in connections])
        await eventually(lambda: server.budget.held == 0)
