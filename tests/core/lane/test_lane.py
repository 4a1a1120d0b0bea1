"""The lane: which jobs run together, how many at a time, and how they are answered."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from inferencehub.core.lane.batch import Batch
from inferencehub.core.lane.sink import End, OneAnswer
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from tests.core.lane.jobs import job, values
from tests.core.lane.slots import Gate, at_once, outcomes, running_lane

pytestmark = pytest.mark.usefixtures("errors_are_read")


async def test_an_idle_lane_sends_at_once_and_a_busy_one_gathers() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        futures = running.submit(job(value=1), job(value=2), job(2, value=3), job(value=4))
        assert running.seen.batches == [1], "the first one waited for company"
        gate.open()
        assert await outcomes(futures) == [[1], [2], [3, 3], [4]]
        assert running.pool.runs == [[1], [2, 3, 3, 4]]


async def test_calls_that_come_in_one_pass_of_the_loop_leave_together() -> None:
    async with running_lane(at_once) as running:
        futures = [running.ask(job(value=number)) for number in (1, 2, 3)]
        assert await outcomes(futures) == [[1], [2], [3]]
        assert running.pool.runs == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("patience", "runs"),
    [(0, [[n] for n in range(40)]), (3, [[*range(32)], [*range(32, 40)]]), (1, [[n] for n in range(40)])],
)
async def test_calls_that_follow_each_other_within_their_patience_leave_together(
    patience: int, runs: list[list[float]]
) -> None:
    async with running_lane(at_once, max_rows=100) as running:
        futures = []
        for number in range(40):
            futures.append(running.ask(job(value=number), patience))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert await outcomes(futures) == [[number] for number in range(40)]
        assert running.pool.runs == runs


@pytest.mark.parametrize("max_rows", [0, 1])
async def test_a_call_that_may_go_with_no_other_waits_for_none(max_rows: int) -> None:
    async with running_lane(at_once, max_rows=max_rows) as running:
        future = running.ask(job(value=0), 1000)
        for _ in range(3):
            await asyncio.sleep(0)
        assert running.pool.runs == [[0]]
        await future


async def test_calls_that_come_together_are_shared_out_over_the_slots_that_are_idle() -> None:
    gate = Gate()
    async with running_lane(gate, slots=3, max_rows=8) as running:
        futures = [running.ask(job(rows)) for rows in (1, 1, 1, 1, 4, 1)]
        await asyncio.sleep(0)
        assert running.seen.batches == [3, 2, 1]  # 3 of 9 rows; 5 of 6, for a job is not cut; the last
        gate.open()
        await asyncio.gather(*futures)


async def test_a_burst_for_which_there_is_room_is_not_refused() -> None:
    gate = Gate()
    async with running_lane(gate, slots=2, max_rows=0, limit=2) as running:
        futures = [running.ask(job()) for _ in range(4)]
        with pytest.raises(HubError, match="2 rows wait"):
            running.ask(job())
        assert running.lane.in_use.jobs == 2
        gate.open()
        await asyncio.gather(*futures)


async def test_every_free_slot_gets_work() -> None:
    gate = Gate()
    async with running_lane(gate, slots=3) as running:
        futures = running.submit(*[job() for _ in range(5)])
        assert running.seen.batches == [1, 1, 1]
        assert (running.lane.in_use.jobs, len(running.lane.queue)) == (3, 2)
        gate.open()
        await asyncio.gather(*futures)
        assert running.seen.batches == [1, 1, 1, 2]


async def test_a_slot_that_becomes_free_from_outside_is_used_on_pump() -> None:
    async with running_lane(at_once) as running:
        running.pool.closed = True
        futures = running.submit(job(value=1), job(value=2))
        await asyncio.sleep(0)
        assert not running.pool.runs
        running.open()
        assert await outcomes(futures) == [[1], [2]]


async def test_a_model_that_does_not_batch_gets_one_call_at_a_time() -> None:
    async with running_lane(at_once, max_rows=0) as running:
        await asyncio.gather(*running.submit(job(), job(), job()))
        assert running.seen.batches == [1, 1, 1]


async def test_answers_tell_where_the_time_went() -> None:
    async with running_lane(Gate()) as running:
        gate = running.pool.work
        assert isinstance(gate, Gate)
        jobs = [job(arrived=monotonic()), job(2, arrived=monotonic()), job(arrived=monotonic())]
        futures = running.submit(*jobs)
        await asyncio.sleep(0.3)
        gate.open()
        await asyncio.gather(*futures)
        assert [one.batch_rows for one in jobs] == [1, 3, 3]
        assert {one.served_by for one in jobs} == {"a pod"}
        first, second = jobs[0].times, jobs[1].times
        assert (second.batch, second.compute) == (0.001, 0.002)
        assert first.queue + 0.3 <= second.queue, "only the second one waited in the lane"
        assert second.network < 0.29 < first.network, "only the first one waited on its way"


async def test_an_answer_that_cannot_be_delivered_holds_up_no_other() -> None:
    ends: list[End] = []

    class Refusing(OneAnswer):
        def end(self, end: End) -> None:
            ends.append(end)
            raise ValueError("no")

    gate = Gate()
    async with running_lane(gate) as running:
        running.pool.closed = True
        running.lane.accept(job(value=1), Refusing())
        [second] = running.submit(job(value=2))
        gate.open()
        running.open()
        assert await outcomes([second]) == [[2]]
        assert len(ends) == 1


async def test_a_full_lane_refuses_at_once() -> None:
    gate = Gate()
    async with running_lane(gate, limit=2) as running:
        futures = running.submit(job(value=1), job(value=2), job(value=3))
        with pytest.raises(HubError) as full:
            running.submit(job())
        assert full.value.kind is Kind.BUSY
        gate.open()
        assert await outcomes(futures) == [[1], [2], [3]]


async def test_a_process_that_holds_enough_bytes_refuses_at_once() -> None:
    gate = Gate()
    async with running_lane(gate, most_bytes=8) as running:
        futures = running.submit(job(value=1), job(value=2))
        with pytest.raises(HubError, match="8 bytes of requests are waiting and 4 more came") as full:
            running.submit(job())
        assert full.value.kind is Kind.BUSY
        gate.open()
        assert await outcomes(futures) == [[1], [2]]
        assert await outcomes(running.submit(job(2, value=3))) == [[3, 3]]


async def test_refuse_answers_those_that_wait_and_are_unwanted() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        futures = running.submit(*[job(value=number) for number in (1, 2, 3)])
        running.lane.refuse(lambda one: values(one.request) != [3], HubError(Kind.NOT_READY, "no pod"))
        gate.open()
        assert await outcomes(futures) == [[1], Kind.NOT_READY, [3]]


async def test_a_broken_answer_to_a_single_call_says_so_without_a_class_name() -> None:
    async def work(batch: Batch) -> InferResponse:
        raise KeyError("inner name")

    async with running_lane(work) as running:
        [future] = running.submit(job())
        with pytest.raises(HubError, match=r"^the model gave an answer that could not be read$") as failure:
            await future
        assert failure.value.kind is Kind.MODEL_FAILED
