"""Callers that leave the lane: what waits never runs, and a run ends once all its callers have left."""

from __future__ import annotations

import asyncio

import pytest

from inferencehub.core.lane.batch import Batch, Outcome
from inferencehub.core.values.requests import InferResponse
from tests.core.lane.jobs import echo, job, values
from tests.core.lane.slots import Gate, at_once, failing, outcomes, running_lane

pytestmark = pytest.mark.usefixtures("errors_are_read")


async def test_a_caller_that_leaves_while_waiting_never_runs() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        [first] = running.submit(job(value=1))
        waiting = asyncio.create_task(running.answer(job(value=2)))
        [third] = running.submit(job(value=3))
        await asyncio.sleep(0.001)
        assert len(running.lane.queue) == 2
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(running.lane.queue) == 1
        gate.open()
        assert await outcomes([first, third]) == [[1], [3]]
        assert running.pool.runs == [[1], [3]]


async def test_a_run_is_cancelled_only_once_all_its_callers_have_left() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        jobs = [job(value=1), job(value=2)]
        running.submit_together(*jobs)
        await asyncio.sleep(0)
        running.lane.leave(jobs[0])
        running.lane.leave(jobs[0])
        await asyncio.sleep(0.001)
        assert (gate.cancelled, running.lane.in_use.jobs) == (0, 2)
        running.lane.leave(jobs[1])
        await asyncio.sleep(0.001)
        assert (gate.cancelled, running.lane.in_use.jobs) == (1, 0)


async def test_a_slot_is_busy_until_its_cancelled_run_has_really_ended() -> None:
    ended = asyncio.Event()

    async def slow_to_end(batch: Batch) -> InferResponse:
        if values(batch.request()) == [1]:
            try:
                await asyncio.sleep(60)
            finally:
                await ended.wait()
        return echo(batch)

    async with running_lane(slow_to_end) as running:
        first = job(value=1)
        _, second = running.submit(first, job(value=2))
        await asyncio.sleep(0)
        running.lane.leave(first)
        await asyncio.sleep(0.005)
        assert running.pool.runs == [[1]]
        assert not running.pool.free
        ended.set()
        assert await outcomes([second]) == [[2]]


async def test_a_caller_that_leaves_before_the_run_began_gives_the_slot_back() -> None:
    async with running_lane(at_once) as running:
        first = job(value=1)
        running.submit(first)
        running.lane.leave(first)
        assert await outcomes(running.submit(job(value=2))) == [[2]]
        assert running.pool.runs == [[2]]


async def test_who_leaves_a_failing_batch_is_not_run_again() -> None:
    gate = Gate(failing(Outcome.FAILED, when=lambda batch: len(batch.jobs) > 1))
    async with running_lane(gate) as running:
        leaving = job(value=1)
        _, staying = running.submit_together(leaving, job(value=2))
        await asyncio.sleep(0)
        running.lane.leave(leaving)
        gate.open()
        assert await outcomes([staying]) == [[2]]
        assert running.pool.runs == [[1, 2], [2]]
        assert running.seen.back == {Outcome.FAILED: 1}
