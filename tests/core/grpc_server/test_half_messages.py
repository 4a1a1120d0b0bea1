"""Messages over gRPC that do not come whole: together they are bounded, and innocent callers keep their connections."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from inferencehub.core.grpc_server.connections.memory import memory
from tests.core.grpc_server.test_unread import PATHS, answering
from tests.h2_caller import H2Caller, h2_caller
from tests.hub import MODELS, Process, eventually
from tests.machine import resident

MB = 10**6
INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the bytes"),
    pytest.mark.long,
]


def memory_of(process: Process) -> int:
    """Bytes of a process in memory."""
    assert process._process is not None
    return resident(process._process.pid)


def lost(callers: list[H2Caller]) -> int:
    """How many have lost their connection."""
    return sum(caller.lost for caller in callers)


@asynccontextmanager
async def gateway_that_holds(size: int) -> AsyncIterator[Process]:
    """A gateway that may hold so many bytes of requests, and half as many of half messages."""
    async with (
        Process("inference", HUB_MODELS=str(MODELS)) as pod,
        Process("gateway", GRPC_SERVER_URL=pod.address, HUB_QUEUE_BYTES=str(size)) as gateway,
    ):
        yield gateway


async def attack(gateway: Process, stack: AsyncExitStack) -> tuple[list[H2Caller], int]:
    """Twenty connections that send 16 MB each, of messages of 50 MB; the most memory that was seen on the way."""
    callers = [await stack.enter_async_context(h2_caller(gateway.grpc_port)) for _ in range(20)]
    most = 0
    for caller in callers:
        for _ in range(4):
            caller.call(INFER, bytes(4 * MB), 50 * MB)
        await asyncio.sleep(0.3)  # else all are here before the first look
        most = max(most, memory_of(gateway))
    await eventually(lambda: lost(callers) >= 14)
    return callers, max(most, memory_of(gateway))


async def test_half_messages_without_end_are_bounded() -> None:
    """A gateway may hold 50 MB of half messages, and is sent 320 MB of them."""
    async with gateway_that_holds(100 * MB) as gateway, AsyncExitStack() as stack:
        innocent = await stack.enter_async_context(h2_caller(gateway.grpc_port))
        innocent.read()
        number = innocent.call(INFER, bytes(2 * MB), 2 * MB + 1)
        at_rest = memory_of(gateway)
        callers, most = await attack(gateway, stack)
        assert most < at_rest + 200 * MB
        assert lost(callers) < len(callers), "the rest of them is within the limit"
        await innocent.rest(number, b"0")
        assert "ModelInferRequest" in (await innocent.until(number))["grpc-message"], "what it sent is none"
        async with h2_caller(gateway.grpc_port) as another:
            another.read()
            assert (await another.until(another.call(LIVE, b"")))["grpc-status"] == "0"


async def test_half_messages_that_have_gone_use_no_memory() -> None:
    """Pages that are used in part stay: 15 to 55 MB, and after twenty attacks no more than after five.

    One connection that stays after each attack would be 80 MB more.
    """
    async with gateway_that_holds(100 * MB) as gateway:
        at_rest = memory_of(gateway)
        for _ in range(5):
            async with AsyncExitStack() as stack:
                await attack(gateway, stack)
        await eventually(lambda: memory_of(gateway) < at_rest + 70 * MB)


@pytest.mark.parametrize("path", PATHS)
async def test_a_process_that_grows_for_another_reason_ends_no_connection(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One caller sends whole messages, another cancels some; then the process takes 100 MB of its own."""
    async with answering() as server, h2_caller(server.port) as whole, h2_caller(server.port) as cancels:
        for caller in (whole, cancels):
            caller.read()
        for _ in range(20):
            number = whole.call(path, b"70".rjust(5 * MB))
            assert (await whole.until(number))["grpc-status"] == "0"
        for _ in range(4):
            number = cancels.call(path, bytes(5 * MB), 50 * MB)
            await cancels.rest(number, b"", end=False)
            cancels.h2.reset_stream(number)
        await cancels.ping()
        before = memory() or 0
        own = bytes(range(256)) * (100 * MB // 256)
        assert (memory() or 0) > before + 90 * MB
        await asyncio.sleep(1.5)  # nothing may happen
        assert (whole.lost, cancels.lost, len(own) > 0) == (False, False, True)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_uploads_that_are_cancelled_end_no_connection() -> None:
    """To TCP they are 200 MB of half messages, but they use no memory.

    The limit of 50 MB is well above what the gateway itself takes after its start, some 15 MB.
    """
    async with gateway_that_holds(100 * MB) as gateway, h2_caller(gateway.grpc_port) as caller:
        caller.read()
        for _ in range(40):
            number = caller.call(INFER, bytes(5 * MB), 50 * MB)
            await caller.rest(number, b"", end=False)
            caller.h2.reset_stream(number)
            # Its answer says that the gateway has seen the end of the calls before: until then they do use memory.
            assert (await caller.until(caller.call(LIVE, b"")))["grpc-status"] == "0"
        await asyncio.sleep(1)  # nothing may happen
        assert (await caller.until(caller.call(LIVE, b"")))["grpc-status"] == "0"
        assert not caller.lost
