"""The lane: which jobs run together, which are answered, which run again, and which never run."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from msgspec.structs import replace

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.lane.sink import End, OneAnswer
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Tensor
from tests.core.lane.jobs import echo, job, request, values
from tests.core.lane.slots import Gate, at_once, failing, no_stray_errors, running_lane
from tests.hub import eventually


@pytest.fixture(autouse=True)
async def errors_are_read() -> AsyncIterator[None]:
    async with no_stray_errors():
        yield


async def outcomes(futures: list[asyncio.Future[InferResponse]]) -> list[list[float] | Kind]:
    """What became of each: its numbers, or the kind of its error."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    return [values(r) if isinstance(r, InferResponse) else error_kind(r) for r in results]


def error_kind(error: BaseException) -> Kind:
    assert isinstance(error, HubError), repr(error)
    return error.kind


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
        assert running.lane.running == 2
        gate.open()
        await asyncio.gather(*futures)


async def test_every_free_slot_gets_work() -> None:
    gate = Gate()
    async with running_lane(gate, slots=3) as running:
        futures = running.submit(*[job() for _ in range(5)])
        assert running.seen.batches == [1, 1, 1]
        assert (running.lane.running, len(running.lane.queue)) == (3, 2)
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
        running.pool.take = lambda again=False: None if again and elsewhere else take()  # type: ignore[method-assign]
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


async def test_work_that_is_refused_again_and_again_ends_at_its_deadline() -> None:
    async def work(batch: Batch) -> InferResponse:
        await asyncio.sleep(0.001)
        raise NotAnswered(Outcome.REFUSED, HubError(Kind.BUSY, "full"))

    async with running_lane(work) as running:
        assert await outcomes(running.submit(job(deadline=monotonic() + 0.5))) == [Kind.DEADLINE]
        assert len(running.pool.runs) > 2


async def test_a_deadline_passes_while_waiting_and_the_call_never_runs() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        first, second, third = running.submit(
            job(value=1), job(value=2, deadline=monotonic() + 0.2), job(value=3)
        )
        with pytest.raises(HubError, match="model 'm' gave no answer before the request's deadline") as late:
            await second
        assert late.value.kind is Kind.DEADLINE
        gate.open()
        assert await outcomes([first, third]) == [[1], [3]]
        assert running.pool.runs == [[1], [3]]


async def test_deadlines_are_kept_in_whatever_order_they_come_and_whatever_was_answered() -> None:
    gates = {number: asyncio.Event() for number in (1.0, 2.0)}

    async def work(batch: Batch) -> InferResponse:
        await gates[values(batch.request())[0]].wait()
        return echo(batch)

    async with running_lane(work, slots=2, max_rows=1) as running:
        began = monotonic()
        soon, held = running.submit(job(value=1, deadline=began + 0.02), job(value=2, deadline=began + 5))
        later, sooner = running.submit(job(deadline=began + 0.4), job(deadline=began + 0.06))
        order: list[asyncio.Future[InferResponse]] = []
        for one in (later, sooner):
            one.add_done_callback(order.append)
        gates[1.0].set()  # the earliest deadline is met; both others wait behind it
        running.pool.closed = True
        assert await outcomes([soon]) == [[1]]
        assert await outcomes([sooner]) == [Kind.DEADLINE]
        assert monotonic() - began >= 0.06
        assert await outcomes([later]) == [Kind.DEADLINE]
        assert monotonic() - began >= 0.4
        assert order == [sooner, later]
        gates[2.0].set()
        assert await outcomes([held]) == [[2]]


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


async def test_a_deadline_that_passed_unseen_is_seen_before_the_call_runs() -> None:
    async def blocking(batch: Batch) -> InferResponse:
        time.sleep(0.25)  # noqa: ASYNC251 - the loop is held up, so that no timer fires
        return echo(batch)

    async with running_lane(blocking) as running:
        soon = monotonic() + 0.2
        futures = running.submit(
            job(value=1), job(value=2, deadline=soon), job(value=3), job(value=4, deadline=soon)
        )
        assert await outcomes(futures) == [[1], Kind.DEADLINE, [3], Kind.DEADLINE]
        futures = running.submit(job(value=5), job(value=6, deadline=monotonic() + 0.2))
        assert await outcomes(futures) == [[5], Kind.DEADLINE]
        assert running.pool.runs == [[1], [3], [5]]


async def test_a_deadline_that_passed_before_is_refused() -> None:
    async with running_lane(at_once) as running:
        with pytest.raises(HubError) as late:
            running.submit(job(deadline=monotonic() - 0.001))
        assert late.value.kind is Kind.DEADLINE
        assert not running.pool.runs


async def test_a_deadline_passes_while_running_and_ends_the_run() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        assert await outcomes(running.submit(job(deadline=monotonic() + 0.2))) == [Kind.DEADLINE]
        await eventually(lambda: gate.cancelled == 1)


async def test_a_run_goes_on_when_only_one_of_its_deadlines_passes() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        futures = running.submit_together(job(value=1, deadline=monotonic() + 0.2), job(value=2))
        assert running.seen.batches == [2]
        assert await outcomes(futures[:1]) == [Kind.DEADLINE]
        gate.open()
        assert await outcomes(futures[1:]) == [[2]]
        assert gate.cancelled == 0


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
        assert (gate.cancelled, running.lane.running) == (0, 2)
        running.lane.leave(jobs[1])
        await asyncio.sleep(0.001)
        assert (gate.cancelled, running.lane.running) == (1, 0)


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


class Data(bytearray):
    """Bytes that a test can see go."""


async def test_an_answered_call_keeps_no_bytes_until_its_deadline() -> None:
    async with running_lane(at_once) as running:
        data = Data(4)
        seen = weakref.ref(data)
        call = replace(request([0]), inputs=(Tensor("x", "FP32", (1, 1), data),))
        del data
        await running.answer(Job(call, 1, (Member(1, monotonic() + 60, ""),), 0.0))
        del call
        await asyncio.sleep(0.001)
        gc.collect()
        assert seen() is None


async def test_refuse_answers_those_that_wait_and_are_unwanted() -> None:
    gate = Gate()
    async with running_lane(gate) as running:
        futures = running.submit(*[job(value=number) for number in (1, 2, 3)])
        running.lane.refuse(lambda one: values(one.request) != [3], HubError(Kind.NOT_READY, "no pod"))
        gate.open()
        assert await outcomes(futures) == [[1], Kind.NOT_READY, [3]]


async def test_members_that_the_other_side_left_out_are_past_their_deadline() -> None:
    async def without_the_second(batch: Batch) -> InferResponse:
        kept = [one for index, one in enumerate(batch.jobs) if index != 1]
        return echo(replace(batch, jobs=tuple(kept)))

    async with running_lane(without_the_second) as running:
        running.pool.free[0].dropped = (1,)
        futures = running.submit_together(job(value=1), job(2, value=2), job(value=3))
        assert await outcomes(futures) == [[1], Kind.DEADLINE, [3]]


async def test_expired_members_are_cut_out_before_a_merged_call_runs() -> None:
    gate, now = Gate(), monotonic()
    async with running_lane(gate) as running:
        members = (Member(1, now + 0.2, "a"), Member(2, now + 60, "b"), Member(1, now + 0.2, "c"))
        merged = Job(request([1, 2, 3, 4]), 4, members, now)
        futures = running.submit(job(value=0), merged)
        await eventually(lambda: monotonic() > now + 0.2)
        gate.open()
        assert await outcomes(futures) == [[0], [2, 3]]
        assert merged.dropped == [0, 2]
        assert (running.seen.answers, running.seen.failures) == (2, 2)


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


async def test_a_broken_answer_to_a_single_call_says_so_without_a_class_name() -> None:
    async def work(batch: Batch) -> InferResponse:
        raise KeyError("inner name")

    async with running_lane(work) as running:
        [future] = running.submit(job())
        with pytest.raises(HubError, match=r"^the model gave an answer that could not be read$") as failure:
            await future
        assert failure.value.kind is Kind.MODEL_FAILED
