"""Large answers of a stream are encoded beside the event loop, and stay in order."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio

from inferencehub.gateway.http_api.call import LARGE_JSON
from tests.hub import Hub, running_hub, write_model
from tests.machine import slowed
from tests.several_answers import DECOUPLED

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE = LARGE_JSON // 4  # FP32 elements of the smallest answer that is large
CONFIG = f"""backend: "python" {DECOUPLED}
    input {{ name: "sizes" data_type: TYPE_INT32 dims: [-1] }}
    output {{ name: "y" data_type: TYPE_FP32 dims: [-1] }}"""
SIZES = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        for size in inputs["sizes"]:
            if size < 0:
                raise ValueError("it is below zero")
            yield {"y": np.arange(size, dtype=np.float32) / 7}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    write_model(models, "sizes", CONFIG, {"1/model.py": SIZES})
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


async def events(hub: Hub, *sizes: int) -> list[Any]:
    body = {"sizes": list(sizes)}
    async with hub.client.post(f"{hub.url}/v2/models/sizes/generate_stream", json=body) as answer:
        assert answer.status == 200
        blocks = (await answer.text()).split("\n\n")
    assert blocks.pop() == ""
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def numbers(size: int) -> list[Any]:
    """The first two and the last element of an answer."""
    return [pytest.approx(number / 7, rel=1e-6) for number in (0, 1, size - 1)]


async def test_large_and_small_answers_stay_in_order(hub: Hub) -> None:
    sizes = (2, LARGE, 3, 4, 2 * LARGE, LARGE - 1, 5)
    found = await events(hub, *sizes)
    assert [len(event["y"]) for event in found] == list(sizes)
    for event, size in zip(found, sizes, strict=True):
        assert [event["y"][at] for at in (0, 1, -1)] == numbers(size)


async def test_an_error_behind_a_large_answer_comes_behind_it(hub: Hub) -> None:
    first, last = await events(hub, LARGE, -1)
    assert len(first["y"]) == LARGE
    assert last == {"error": "model 'sizes': it is below zero"}


async def test_a_large_answer_alone_is_an_answer(hub: Hub) -> None:
    status, answer, _ = await hub.post("/v2/models/sizes/generate", {"sizes": [LARGE]})
    assert (status, len(answer["y"])) == (200, LARGE)


@pytest.mark.timing
@pytest.mark.parametrize("path", ["generate", "generate_stream"])
async def test_a_large_answer_does_not_hold_up_the_event_loop(hub: Hub, path: str) -> None:
    longest = 0.0

    async def ask(sizes: list[int]) -> int:
        async with hub.client.post(f"{hub.url}/v2/models/sizes/{path}", json={"sizes": sizes}) as answer:
            return len(await answer.read())

    async def watch(asking: Awaitable[int]) -> int:
        nonlocal longest
        task, turns = asyncio.ensure_future(asking), [monotonic()]
        while not task.done():
            await asyncio.sleep(0.002)
            turns.append(monotonic())
        longest = max(later - one for one, later in itertools.pairwise(turns))
        return task.result()

    assert await watch(ask([8 * LARGE])) > 8 * LARGE_JSON
    assert longest < slowed(0.15), "2 million numbers take longer than that to encode"
