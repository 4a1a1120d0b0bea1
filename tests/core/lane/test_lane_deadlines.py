"""Deadlines of calls: they pass while a call waits or runs, and end that call and no other."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from time import monotonic

import pytest
from msgspec.structs import replace

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Tensor
from tests.core.lane.jobs import echo, job, request, values
from tests.core.lane.slots import Gate, at_once, outcomes, running_lane
from tests.hub import eventually

pytestmark = pytest.mark.usefixtures("errors_are_read")


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
