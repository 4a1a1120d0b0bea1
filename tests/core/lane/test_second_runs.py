"""Runs that fail, are refused or are lost: which jobs run again, in what order, and which never do."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from msgspec.structs import replace

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from tests.core.lane.jobs import echo, job, values
from tests.core.lane.slots import Gate, Worker, failing, outcomes, running_lane
from tests.hub import eventually

pytestmark = pytest.mark.usefixtures("errors_are_read")


async def test_of_eight_merged_calls_only_the_poison_one_fails() -> None:
    gate = Gate(failing(Outcome.FAILED, when=lambda batch: 13.0 in values(batch.request())))
    async with running_lane(gate) as running:
        numbers = [10, 11, 12, 13, 14, 15, 16, 17]
        first, *futures = running.submit(job(value=1), *[job(value=number) for number in numbers])
        gate.open()
        assert await outcomes([first]) == [[1]]
        expected: list[list[float] | Kind] = [[number] for number in numbers]
        expected[3] = Kind.MODEL_FAILED
        assert await outcomes(futures) == expected
        assert running.seen.batches == [1, 8, *[1] * 8]
        assert running.seen.back == {Outcome.FAILED: 8}


@pytest.mark.parametrize(
    ("outcome", "runs"), [(Outcome.REFUSED, [[1], [1, 2], [3]]), (Outcome.LOST, [[1], [1], [2, 3]])]
)
async def test_work_that_was_not_done_goes_back_to_the_head(
    outcome: Outcome, runs: list[list[float]]
) -> None:
    tries = iter([True])
    gate = Gate(failing(outcome, when=lambda _: next(tries, False)))
    async with running_lane(gate, max_rows=2) as running:
        futures = running.submit(*[job(value=number) for number in (1, 2, 3)])
        gate.open()
        assert await outcomes(futures) == [[1], [2], [3]]
        assert running.pool.runs == runs
        assert running.seen.back == {outcome: 1}


async def test_of_eight_merged_calls_only_the_one_that_takes_its_pod_along_fails_at_its_second_run() -> None:
    gate = Gate(failing(Outcome.LOST, Kind.NOT_READY, lambda batch: 13.0 in values(batch.request())))
    async with running_lane(gate) as running:
        numbers = [float(number) for number in range(10, 18)]
        first, *futures = running.submit(job(value=1), *[job(value=number) for number in numbers])
        gate.open()
        await first
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [values(r) for r in results if isinstance(r, InferResponse)] == [
            [number] for number in numbers if number != 13
        ]
        error = results[3]
        assert isinstance(error, HubError)
        assert (error.kind, error.detail) == (
            Kind.MODEL_FAILED,
            "model 'm': 2 pods were lost while they ran this request, the second time alone; it is not tried a third time",
        )
        assert running.pool.runs == [[1], numbers, *[[number] for number in numbers]]
        assert running.seen.back == {Outcome.LOST: 8}


async def test_what_was_lost_waits_for_a_pod_of_its_own_and_holds_up_no_other() -> None:
    gate = Gate(failing(Outcome.LOST, Kind.NOT_READY, lambda batch: next(losses, False)))
    losses = iter([True])
    async with running_lane(gate, slots=2, max_rows=2) as running:
        take = running.pool.take
        elsewhere = True

        def taken(again: bool = False, at_once: bool = False) -> Worker | None:
            return None if again and elsewhere else take()

        running.pool.take = taken  # type: ignore[method-assign]
        one = job(value=1)
        lost = running.submit(one)
        gate.open()
        await eventually(lambda: one.losses == 1)
        assert await outcomes(running.submit(job(value=2), job(value=3))) == [[2], [3]]
        assert not lost[0].done()
        assert running.lane.queue.waiting() == [one]
        elsewhere = False
        running.lane.pump()
        assert await outcomes(lost) == [[1]]


async def test_lost_work_keeps_its_order_and_its_deadline_and_its_caller_may_leave() -> None:
    losses = iter([True] * 4)
    gate = Gate(failing(Outcome.LOST, Kind.NOT_READY, lambda batch: next(losses, False)))
    async with running_lane(gate, slots=4, max_rows=1) as running:
        jobs = [job(value=1), job(value=2), job(value=3), job(value=4, deadline=monotonic() + 0.3)]
        futures = running.submit(*jobs)
        await asyncio.sleep(0)
        running.pool.closed = True
        gate.open()
        await eventually(lambda: len(running.lane.queue) == 4)
        assert running.lane.queue.rows == 4
        running.lane.leave(jobs[1])
        assert await outcomes([futures[3]]) == [Kind.DEADLINE]
        running.open()
        assert await outcomes([futures[0], futures[2]]) == [[1], [3]]
        assert running.pool.runs[4:] == [[1], [3]]


async def test_batches_that_come_back_in_another_order_run_in_the_order_of_arrival() -> None:
    gates = {1.0: asyncio.Event(), 2.0: asyncio.Event(), 3.0: asyncio.Event()}
    lost = set(gates)

    async def work(batch: Batch) -> InferResponse:
        number = values(batch.request())[0]
        if number in lost:
            await gates[number].wait()
            lost.discard(number)
            raise NotAnswered(Outcome.LOST, HubError(Kind.NOT_READY, "gone"))
        return echo(batch)

    async with running_lane(work, slots=3, max_rows=1) as running:
        futures = running.submit(*[job(value=number) for number in (1, 2, 3, 4)])
        await asyncio.sleep(0)
        running.pool.closed = True
        for number in (1.0, 3.0, 2.0):
            gates[number].set()
            await asyncio.sleep(0.001)
        running.open()
        assert await outcomes(futures) == [[1], [2], [3], [4]]
        assert running.pool.runs[3:] == [[1], [2], [3], [4]]


async def test_a_model_that_must_not_run_twice_does_not() -> None:
    async with running_lane(failing(Outcome.LOST, Kind.NOT_READY), at_most_once=True) as running:
        assert await outcomes(running.submit(job(value=1))) == [Kind.NOT_READY]
        assert running.pool.runs == [[1]]
    gate = Gate(failing(Outcome.FAILED))
    async with running_lane(gate, at_most_once=True) as running:
        futures = running.submit(job(value=1), job(value=2), job(value=3))
        gate.open()
        assert await outcomes(futures) == [Kind.MODEL_FAILED] * 3
        assert running.pool.runs == [[1], [2, 3]]
    refusals = iter([True, True])
    async with running_lane(
        failing(Outcome.REFUSED, when=lambda _: next(refusals, False)), at_most_once=True
    ) as running:
        assert await outcomes(running.submit(job(value=1))) == [[1]]
        assert running.pool.runs == [[1], [1], [1]]


async def test_second_runs_that_cost_pods_end_with_the_budget() -> None:
    lost = failing(Outcome.LOST, Kind.NOT_READY)
    async with running_lane(lost, retries=RetryBudget(share=0.0, most=2.0)) as running:
        for number in (1, 2):
            assert await outcomes(running.submit(job(value=number))) == [Kind.MODEL_FAILED]
        assert await outcomes(running.submit(job(value=3))) == [Kind.NOT_READY]
        assert running.pool.runs == [[1], [1], [2], [2], [3]]


@pytest.mark.parametrize("answer", ["short", "raises"])
async def test_an_answer_that_cannot_be_split_fails_its_calls_alone(
    answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(batch: Batch) -> InferResponse:
        whole = echo(batch)
        if len(batch.jobs) == 1:
            return whole
        if answer == "raises":
            raise RuntimeError("broken")
        return replace(whole, outputs=job(1).request.inputs)

    gate = Gate(work)
    async with running_lane(gate) as running:
        futures = running.submit(job(value=1), job(value=2), job(value=3))
        gate.open()
        assert await outcomes(futures) == [[1], [2], [3]]
        assert running.pool.runs == [[1], [2, 3], [2], [3]]
    assert caplog.records[0].message == "run failed"
