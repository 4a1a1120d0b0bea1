"""The histograms of streams: how long until the first answer, and how long between two answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from inferencehub.core.oip import messages
from tests.hub import Hub, mock_model, running_hub
from tests.several_answers import count_to, counting_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST, BETWEEN = "inferencehub_gateway_first_answer_seconds", "inferencehub_gateway_between_answers_seconds"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    counting_model(models)
    mock_model(models)
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


async def observed(hub: Hub, name: str) -> dict[tuple[str, str], tuple[int, float]]:
    """Count and sum of a histogram, by front and model."""
    found: dict[tuple[str, str, str], float] = {}
    for family in text_string_to_metric_families(await hub.metrics()):
        for sample in family.samples if family.name == name else ():
            if "le" not in sample.labels:
                ending = sample.name.removeprefix(name)
                found[sample.labels["front"], sample.labels["model"], ending] = sample.value
    keys = {key[:2] for key in found}
    return {key: (int(found[*key, "_count"]), found[*key, "_sum"]) for key in keys}


async def by_http(hub: Hub, count: int, **parameters: str) -> None:
    body = {"count": count, **parameters}
    async with hub.client.post(f"{hub.url}/v2/models/counter/generate_stream", json=body) as answer:
        assert (await answer.text()).count('"text_output"') == abs(count)


async def by_grpc(hub: Hub, count: int, **parameters: str) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        ask: Any = channel.stream_stream(messages.STREAM_METHOD)
        sent = count_to(count, **parameters)
        answers = [answer async for answer in ask(iter([sent]))]
        assert len(answers) == abs(count) + (count < 0)


def let(steps: Path, number: int) -> None:
    """Let the model go on after its answer `number`."""
    steps.write_bytes(b"1" * number)


async def held_up(hub: Hub, key: tuple[str, str], steps: Path) -> None:
    """Let the model give its second and third answer each 0.1 s after the one before was counted."""
    for number, (name, count) in enumerate(((FIRST, 2), (BETWEEN, 1)), 1):
        while (await observed(hub, name)).get(key, (0, 0.0))[0] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # only the page of metrics tells
        await asyncio.sleep(0.1)
        let(steps, number)


async def test_each_stream_has_one_first_answer_and_the_times_between_the_others(
    hub: Hub, tmp_path: Path
) -> None:
    for front, ask in (("http", by_http), ("grpc", by_grpc)):
        key = (front, "counter")
        assert (await observed(hub, FIRST)).get(key) is None
        await ask(hub, 0)  # it has no answer
        assert (await observed(hub, FIRST)).get(key) is None
        await ask(hub, 1)
        (count, seconds) = (await observed(hub, FIRST))[key]
        assert count == 1
        assert 0 < seconds < 60
        assert (await observed(hub, BETWEEN)).get(key, (0, 0.0)) == (0, 0.0)
        steps = tmp_path / front
        async with asyncio.timeout(60):  # an error is no answer
            await asyncio.gather(ask(hub, -3, steps=str(steps)), held_up(hub, key, steps))
        (count, longer) = (await observed(hub, FIRST))[key]
        assert count == 2
        assert longer > seconds
        (count, seconds) = (await observed(hub, BETWEEN))[key]
        assert count == 2
        assert 0.19 < seconds < 60, "two pauses of the model"


async def test_a_call_with_one_answer_is_not_among_them(hub: Hub) -> None:
    features = {"name": "features", "shape": [1], "datatype": "FP32", "data": [1.5]}
    assert (await hub.post("/v2/models/quick/infer", {"inputs": [features]}))[0] == 200
    assert (await hub.post("/v2/models/counter/generate", {"count": 1}))[0] == 200
    for name in (FIRST, BETWEEN):
        assert {model for _, model in await observed(hub, name)} <= {"counter"}
    before = await observed(hub, FIRST)
    assert (await hub.post("/v2/models/counter/generate", {"count": 1}))[0] == 200
    assert await observed(hub, FIRST) == before
