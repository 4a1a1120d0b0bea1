"""Answers of a stream that its reader has not taken count in the process's budget of bytes, on every front."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from inferencehub.core.lane.byte_budget import ByteBudget
from tests.gateway.answer_streams import FRONTS, Read, ports_of, stream
from tests.hub import Hub, eventually, running_hub
from tests.several_answers import counting_model, word

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

SIZE = 16_000_000  # bytes of an answer: more than sockets hold
LEAST = 4_000_000  # bytes of it that no socket has taken
LIMIT = 24_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models: Path = tmp_path_factory.mktemp("models")
    counting_model(models, instances=2)
    return models


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(models: Path) -> AsyncIterator[Hub]:
    async with running_hub(
        models, queue_bytes=LIMIT, max_body_bytes=LIMIT, pod={"queue_bytes": LIMIT}
    ) as hub:
        yield hub


def budget(hub: Hub, front: str) -> ByteBudget:
    """The budget of the process that a front is part of."""
    return hub.pods[0].models.bytes_held if front == "pod" else hub.gateway.bytes_held


async def stopped(stack: AsyncExitStack, hub: Hub, models: Path, front: str) -> Read:
    """A stream of large answers whose reader takes the first one, once the model waits for it."""
    opened = stream(front, ports_of(hub), "counter", 1000, width=SIZE)
    read = await stack.enter_async_context(opened)
    assert (await read()).strip(".") == "1"
    async with asyncio.timeout(120):
        made = ""
        while (now := word(models)) != made or budget(hub, front).held < LEAST:
            made = now
            await asyncio.sleep(0.5)
    return read


@pytest.mark.parametrize("front", FRONTS)
async def test_what_a_reader_has_not_taken_counts_until_it_takes_it_or_leaves(
    hub: Hub, models: Path, front: str
) -> None:
    await eventually(lambda: budget(hub, front).held == 0)
    async with AsyncExitStack() as stack:
        read = await stopped(stack, hub, models, front)
        assert LEAST <= budget(hub, front).held < SIZE + 2**17, "one answer, and what fits into a window"
        made = int(word(models))
        async with asyncio.timeout(60):
            for number in range(2, made + 1):
                assert (await read()).strip(".") == str(number)
    await eventually(lambda: budget(hub, "pod").held == budget(hub, "gateway").held == 0)
    await eventually(lambda: word(models) == "closed")


@pytest.mark.parametrize("front", ["gateway", "events"])
async def test_others_have_what_it_leaves_of_the_budget(
    hub: Hub, models: Path, front: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers that nobody takes are dropped to make room."""

    async def ask() -> int:
        body = {"count": 1, "text_input": "x" * (LIMIT - LEAST + 1)}
        return (await hub.post("/v2/models/counter/generate", body))[0]

    await eventually(lambda: budget(hub, front).held == 0)
    async with AsyncExitStack() as stack:
        await stopped(stack, hub, models, front)
        status = 0
        async with asyncio.timeout(60):
            while status != 200:  # its reader must have taken nothing for a second or two
                status = await ask()
    await eventually(lambda: budget(hub, front).held == 0)
    assert await ask() == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
