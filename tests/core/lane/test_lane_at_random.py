"""Ten thousand calls through one lane, with all possible outcomes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import pytest
import uvloop

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from tests.core.lane.jobs import echo, job, values
from tests.core.lane.slots import Running, no_stray_errors, running_lane

pytestmark = pytest.mark.long


async def ten_thousand_calls(seed: int) -> None:
    """Callers that leave, slots that fail in all ways, deadlines that pass: each call ends once, nothing stays."""
    chance = random.Random(seed)

    async def work(batch: Batch) -> InferResponse:
        for _ in range(chance.choice([0, 0, 1, 3])):
            await asyncio.sleep(0)
        if chance.random() < 0.02:
            await asyncio.sleep(0.002)
        dice = chance.random()
        if dice < 0.03:
            raise NotAnswered(chance.choice(list(Outcome)), HubError(Kind.MODEL_FAILED, "no"))
        if dice < 0.04:
            raise RuntimeError("broken")
        if 666.0 in values(batch.request()):
            raise NotAnswered(Outcome.FAILED, HubError(Kind.BAD_INPUT, "poison"))
        return echo(batch)

    ends: Counter[str] = Counter()

    async def call(running: Running, number: int) -> None:
        rows = chance.randint(1, 4)
        value = 666.0 if chance.random() < 0.01 else float(number)
        deadline = monotonic() + (chance.random() * 0.01 if chance.random() < 0.1 else 60.0)
        one = job(rows, deadline, monotonic(), value, {"kind": chance.randint(0, 1)})
        if chance.random() < 0.3:
            one.to_background()
        try:
            answer = await running.answer(one)
        except HubError as error:
            ends[error.kind.label] += 1
        except asyncio.CancelledError:
            ends["left"] += 1
            raise
        else:
            assert values(answer) == [value] * rows, "somebody else's answer"
            ends["answered"] += 1

    async with (
        no_stray_errors(),
        running_lane(
            work, slots=3, limit=60, most_bytes=700, retries=RetryBudget(0.01, 5), floor=0.1
        ) as running,
    ):
        tasks: list[asyncio.Task[None]] = []
        for number in range(10_000):
            tasks.append(asyncio.create_task(call(running, number)))
            if chance.random() < 0.1:
                chance.choice(tasks[-20:]).cancel()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [r for r in results if isinstance(r, Exception)]
    never_began = sum(isinstance(r, asyncio.CancelledError) for r in results) - ends["left"]
    assert sum(ends.values()) + never_began == 10_000
    expected = {"answered", "left", "busy", "bad_input", "deadline", "model_failed"}
    assert set(ends) == expected, "the test does not reach every end"
    assert ends["answered"] > 3_000


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_ten_thousand_calls_leave_nothing_behind(
    run: Callable[[Coroutine[Any, Any, None]], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "inferencehub.core.lane.lane")
    run(ten_thousand_calls(7))
