"""A model that gives three answers: through its process, the stream between tiers and both lanes, to a front's sink."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from struct import pack, unpack
from time import monotonic

import pytest
import pytest_asyncio

from inferencehub.core.lane.sink import End
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.tensors import Tensor
from inferencehub.gateway.calls.exchange import Exchange
from tests.hub import Hub, eventually, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """backend: "python"
    model_transaction_policy { decoupled: true }
    input { name: "x" data_type: TYPE_FP32 dims: [1] }
    output { name: "y" data_type: TYPE_FP32 dims: [1] }"""
COUNTING = """
import os

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        x = inputs["x"]
        for number in range(3):
            yield {"y": x + number}
        while x[0] == 300:
            yield {"y": x}
        if x[0] == 100:
            raise ValueError("a hundred is enough")
        if x[0] == 200:
            os._exit(7)
"""


class Answers:
    """A front's sink. It has delivered an answer when it has come; a `slow` one does not deliver any."""

    several = True

    def __init__(self, exchange: Exchange, slow: bool = False) -> None:
        self.exchange = exchange
        self.slow = slow
        self.parts: list[float] = []
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def part(self, response: InferResponse, weight: int) -> None:
        assert not self.ended.done()
        self.parts += unpack("<f", response.outputs[0].data)
        if not self.slow:
            self.credit(weight)

    def credit(self, weight: int) -> None:
        assert self.exchange.job is not None
        assert self.exchange.job.credit is not None
        self.exchange.job.credit(weight)

    def end(self, end: End) -> None:
        self.ended.set_result(end)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    write_model(models, "counting", CONFIG, {"1/model.py": COUNTING})
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


async def ask(hub: Hub, x: float, limit_s: float | None = None) -> tuple[list[float], End]:
    """The answers to one number, and how they ended."""
    sink = begin(hub, x, limit_s)
    return sink.parts, await asyncio.wait_for(sink.ended, 20)


def begin(hub: Hub, x: float, limit_s: float | None = None, slow: bool = False) -> Answers:
    """Submit one number."""
    exchange = Exchange("an-id")
    exchange.limit_s = limit_s
    sink = Answers(exchange, slow)
    tensor = Tensor("x", "FP32", (1,), pack("<f", x))
    hub.gateway.calls.submit(exchange, InferRequest("counting", "", (tensor,)), sink)
    return sink


async def test_three_answers_come_in_order_and_then_the_end(hub: Hub) -> None:
    asked = await asyncio.gather(*[ask(hub, x) for x in (1, 10, 20)])
    assert asked == [([x, x + 1, x + 2], None) for x in (1, 10, 20)]


async def test_an_error_behind_answers_ends_them(hub: Hub) -> None:
    parts, end = await ask(hub, 100)
    assert parts == [100, 101, 102]
    assert isinstance(end, HubError)
    assert (end.kind, end.detail) == (Kind.BAD_INPUT, "model 'counting': a hundred is enough")


async def test_a_process_that_dies_behind_answers_is_an_error_and_nothing_runs_twice(hub: Hub) -> None:
    parts, end = await ask(hub, 200)
    assert parts == [200, 201, 202]
    assert isinstance(end, HubError)
    assert end.kind is Kind.MODEL_FAILED
    assert await ask(hub, 1) == ([1, 2, 3], None)


@pytest.mark.timing
async def test_a_model_that_never_ends_holds_up_nobody(hub: Hub) -> None:
    """Both tiers share this event loop: it must have its turns, and see the deadline."""
    turns: list[float] = []

    async def count() -> None:
        while True:
            turns.append(monotonic())
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count())
    parts, end = await ask(hub, 300, limit_s=1.0)
    counting.cancel()
    assert len(parts) > 3
    assert isinstance(end, HubError)
    assert end.kind is Kind.DEADLINE
    assert max(later - one for one, later in itertools.pairwise(turns)) < 0.5


async def test_a_call_that_carries_one_answer_does_not_wait_for_the_last(hub: Hub) -> None:
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [300]}
    async with hub.client.post(f"{hub.url}/v2/models/counting/infer", json={"inputs": [x]}) as answer:
        assert answer.status == 501
    await eventually(lambda: hub.gateway.table.routes["counting", ""][0].lane.idle)


async def test_calls_that_carry_one_answer_say_so(hub: Hub) -> None:
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    async with hub.client.post(f"{hub.url}/v2/models/counting/infer", json={"inputs": [x]}) as answer:
        assert answer.status == 501
        assert "several answers" in (await answer.json())["error"]
    assert hub.gateway.metrics.in_flight == 0
