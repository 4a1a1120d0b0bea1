"""Streams on every front: an answer comes before the next one is made, a reader that stops holds the model and no
memory, and many streams at once are whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio

from tests.gateway.answer_streams import FRONTS, ports_of, stream
from tests.hub import Hub, Process, eventually, running_hub
from tests.machine import resident
from tests.several_answers import counting_model, moment, word

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

LEVEL = 5_000_000  # bytes that a process may gain or lose while nobody reads


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models: Path = tmp_path_factory.mktemp("models")
    for front in FRONTS:
        counting_model(models, front)
    return models


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(models: Path) -> AsyncIterator[Hub]:
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


@pytest.mark.parametrize("front", FRONTS)
async def test_each_answer_comes_before_the_next_one_is_made(
    hub: Hub, models: Path, front: str, tmp_path: Path
) -> None:
    steps, made, came = tmp_path / "steps", [], []
    async with asyncio.timeout(60), stream(front, ports_of(hub), front, 5, steps=str(steps)) as read:
        for number in range(1, 6):
            assert await read() == str(number)
            came.append(monotonic())
            if number < 5:  # behind the last one it has written more
                assert word(models, front) == str(number)
                made.append(moment(models, front))
                steps.write_bytes(b"." * number)
        assert await read() == ""
    assert all(one < other for one, other in zip(made, came, strict=False))
    assert all(one < other for one, other in zip(came, made[1:], strict=False))


async def test_readers_that_stop_for_ten_seconds_hold_their_models_and_no_memory(tmp_path: Path) -> None:
    for front in FRONTS:
        counting_model(tmp_path, front)
    async with (
        Process("inference", HUB_MODELS=str(tmp_path)) as pod,
        Process("gateway", GRPC_SERVER_URL=pod.address) as gateway,
        AsyncExitStack() as stack,
    ):
        ports = dict(zip(FRONTS, (gateway.port, gateway.grpc_port, pod.port), strict=True))
        reads = {}
        for front in FRONTS:
            opened = stream(front, ports, front, 10_000_000, width=1000)
            read = reads[front] = await stack.enter_async_context(opened)
            assert (await read()).strip(".") == "1"
        resting = await at_rest(tmp_path)
        before = [resident(process.pid) for process in (gateway, pod)]
        await asyncio.sleep(10)
        after = [resident(process.pid) for process in (gateway, pod)]
        assert words(tmp_path) == resting
        for one, other in zip(before, after, strict=True):
            assert abs(other - one) < LEVEL
        print(f"answers of 1 KB that were made, most of them in sockets: {resting}; memory {before}, {after}")
        for front, read in reads.items():
            number = 1
            async with asyncio.timeout(60):
                while word(tmp_path, front) == resting[front]:
                    number += 1
                    assert (await read()).strip(".") == str(number), "it goes on where it was"
        await stack.aclose()
        await eventually(lambda: set(words(tmp_path).values()) == {"closed"})


def words(models: Path) -> dict[str, str]:
    """What each model wrote last."""
    return {front: word(models, front) for front in FRONTS}


async def at_rest(models: Path) -> dict[str, str]:
    """Wait until no model has made an answer for some seconds; what each wrote last."""
    async with asyncio.timeout(120):
        while True:
            before = words(models)
            await asyncio.sleep(3)
            if words(models) == before:
                return before


@pytest.mark.parametrize("front", FRONTS)
async def test_many_streams_at_once_are_whole_in_order_and_not_mixed(hub: Hub, front: str) -> None:
    async def ask(number: int) -> list[str]:
        async with stream(front, ports_of(hub), front, 100, prefix=f"{number}-") as read:
            texts = [await read() for _ in range(100)]
            assert await read() == ""
            return texts

    size = 2 if front == "pod" else 200  # a pod has room for two requests to an instance, and refuses others
    answers = await asyncio.gather(*[ask(number) for number in range(size)])
    assert answers == [[f"{number}-{n}" for n in range(1, 101)] for number in range(size)]
