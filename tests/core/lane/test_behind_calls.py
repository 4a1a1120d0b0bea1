"""A lane with background work: calls go before it, and nothing of theirs is its own: room, foretold waits, deadlines."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from inferencehub.core.lane.batch import Batch, Outcome
from inferencehub.core.lane.job import Job
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from tests.core.lane.jobs import echo, job
from tests.core.lane.slots import Gate, at_once, failing, outcomes, running_lane
from tests.hub import eventually

pytestmark = pytest.mark.usefixtures("errors_are_read")


def behind(value: float, limit_s: float = 60.0) -> Job:
    now = monotonic()
    made = job(value=value, arrived=now, deadline=now + limit_s)
    made.to_background()
    return made


async def test_calls_go_first_and_what_waits_goes_with_them() -> None:
    async with running_lane(at_once, max_rows=4) as running:
        futures = running.submit_together(
            *[behind(value) for value in (1, 2, 3, 4)], *[job(value=value) for value in (5, 6, 7, 8, 9, 10)]
        )
        assert await outcomes(futures) == [[value] for value in range(1, 11)]
        assert running.pool.runs == [[5, 6, 7, 8], [9, 10, 1, 2], [3, 4]]


async def test_behind_calls_without_end_it_gets_its_floor() -> None:
    for floor, expected in ((0.0, 0), (0.1, 10), (0.5, 50)):
        seen: list[bool] = []

        async def work(batch: Batch, seen: list[bool] = seen) -> InferResponse:
            seen.append(batch.jobs[0].background)
            return echo(batch)

        async with running_lane(work, max_rows=0, limit=1000, floor=floor) as running:
            running.submit_together(*[behind(value) for value in range(100)], *[job() for _ in range(200)])
            await eventually(lambda: running.lane.idle)
        assert sum(seen[:100]) == pytest.approx(expected, abs=1)


async def test_it_takes_no_room_from_calls_and_has_a_bound_of_its_own() -> None:
    async with running_lane(at_once, max_rows=0, limit=2) as running:
        running.pool.closed = True
        futures = running.submit(behind(1), behind(2), job(value=3), job(value=4))
        for one in (behind(5), job(value=6)):
            with pytest.raises(HubError) as caught:
                running.submit(one)
            assert caught.value.kind is Kind.BUSY
        running.open()
        assert await outcomes(futures) == [[1], [2], [3], [4]]


async def test_it_does_not_count_for_how_long_calls_wait() -> None:
    async with running_lane(at_once, max_rows=0, limit=1000) as running:
        began = monotonic()
        for value in range(20):
            await running.answer(job(value=value))
        running.pool.closed = True
        futures = running.submit(*[behind(value) for value in range(900)])
        running.lane.refuse_in_vain("m", began + 0.001)
        assert running.lane.queue.wait(monotonic()) == 0.0
        running.open()
        await asyncio.gather(*futures)


async def test_its_time_begins_with_its_run() -> None:
    deadlines: list[float] = []

    async def work(batch: Batch) -> InferResponse:
        assert batch.deadline == batch.members[0].deadline
        deadlines.append(batch.deadline - monotonic())
        return echo(batch)

    async with running_lane(work) as running:
        running.pool.closed = True
        futures = running.submit(behind(1, limit_s=0.05), job(value=2, deadline=monotonic() + 0.05))
        assert await outcomes(futures[1:]) == [Kind.DEADLINE]
        await asyncio.sleep(0.1)
        assert not futures[0].done()
        running.open()
        assert await outcomes(futures[:1]) == [[1]]
        assert 0 < deadlines[0] <= 0.05


async def test_a_run_that_takes_longer_ends_at_its_deadline() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        (future,) = running.submit(behind(1, limit_s=0.05))
        assert await outcomes([future]) == [Kind.DEADLINE]
        await eventually(lambda: gate.cancelled == 1)


async def test_what_comes_back_waits_in_the_order_of_its_class() -> None:
    refusals = iter([True])
    work = failing(Outcome.REFUSED, Kind.BUSY, lambda batch: next(refusals, False))
    async with running_lane(work, max_rows=2) as running:
        futures = running.submit_together(behind(1), behind(2), job(value=3))
        futures += running.submit(job(value=4))
        assert await outcomes(futures) == [[1], [2], [3], [4]]
        assert running.pool.runs == [[3, 1], [3, 4], [1, 2]]


async def test_it_may_be_left_and_refused_while_it_waits() -> None:
    async with running_lane(at_once) as running:
        running.pool.closed = True
        jobs = [behind(1), behind(2), job(value=3)]
        futures = running.submit(*jobs)
        running.lane.leave(jobs[0])
        running.lane.refuse(lambda one: True, HubError(Kind.NOT_READY, "no pod"))
        assert await outcomes(futures[1:]) == [Kind.NOT_READY, Kind.NOT_READY]
        assert not running.lane.background.rows
        running.open()
