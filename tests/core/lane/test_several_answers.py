"""A run that gives several answers: each goes to its caller at once, and the end follows."""

from __future__ import annotations

import asyncio

import pytest

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.sink import Emit, End, OneAnswer
from inferencehub.core.lane.slot import Ran
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse, Times
from tests.core.lane.jobs import echo, job, values
from tests.core.lane.slots import Running, at_once, running_lane


class Collected:
    """A sink that keeps what comes; `over` is set at the end."""

    several = True

    def __init__(self) -> None:
        self.parts: list[list[float]] = []
        self.ended: End = None
        self.over = asyncio.Event()

    def part(self, response: InferResponse, weight: int) -> None:
        assert not self.over.is_set()
        self.parts.append(values(response))

    def end(self, end: End) -> None:
        assert not self.over.is_set()
        self.ended = end
        self.over.set()


class Telling:
    """A slot whose model gives `count` answers, the last one with its end where `with_end` says so."""

    def __init__(self, count: int, with_end: bool = False, error: Outcome | None = None) -> None:
        self.count = count
        self.with_end = with_end
        self.error = error
        self.runs = 0

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        self.runs += 1
        for _ in range(self.count - self.with_end):
            await asyncio.sleep(0)
            emit(echo(batch), 1)
        if self.error is not None:
            raise NotAnswered(self.error, HubError(Kind.MODEL_FAILED, "it went wrong"))
        return Ran(echo(batch) if self.with_end else None, Times())


async def collected(running: Running, slot: Telling, *jobs: Job) -> list[Collected]:
    """What the callers of jobs get that leave together."""
    running.pool.free = [slot]  # type: ignore[list-item]
    sinks = [Collected() for _ in jobs]
    for one, sink in zip(jobs, sinks, strict=True):
        running.lane.accept(one, sink)
    for sink in sinks:
        await asyncio.wait_for(sink.over.wait(), 60)
    return sinks


@pytest.mark.parametrize("with_end", [True, False])
async def test_each_caller_gets_its_rows_of_each_answer(with_end: bool) -> None:
    async with running_lane(at_once) as running:
        slot = Telling(3, with_end)
        one, two = await collected(running, slot, job(value=1), job(2, value=2))
    assert slot.runs == 1
    assert one.parts == [[1]] * (3 - with_end)
    assert two.parts == [[2, 2]] * (3 - with_end)
    if with_end:
        assert isinstance(one.ended, InferResponse)
        assert values(one.ended) == [1]
    else:
        assert one.ended is None


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.LOST])
async def test_a_job_that_has_had_an_answer_does_not_run_again(outcome: Outcome) -> None:
    async with running_lane(at_once) as running:
        slot = Telling(1, error=outcome)
        sinks = await collected(running, slot, job(value=1), job(value=2))
    assert slot.runs == 1
    assert [sink.parts for sink in sinks] == [[[1]], [[2]]]
    assert all(isinstance(sink.ended, HubError) for sink in sinks)


async def test_a_caller_that_leaves_gets_no_more(  # and the others do
) -> None:
    async with running_lane(at_once) as running:
        leaving, staying = job(value=1), job(value=2)
        sinks = [Collected(), Collected()]

        class Between(Telling):
            async def run(self, batch: Batch, emit: Emit) -> Ran:
                emit(echo(batch), 1)
                running.lane.leave(leaving)
                await asyncio.sleep(0)
                emit(echo(batch), 1)
                return Ran(None, Times())

        running.pool.free = [Between(0)]  # type: ignore[list-item]
        for one, sink in zip((leaving, staying), sinks, strict=True):
            running.lane.accept(one, sink)
        for sink in sinks:
            await asyncio.wait_for(sink.over.wait(), 60)
    assert sinks[0].parts == [[1]]
    assert isinstance(sinks[0].ended, HubError)
    assert sinks[0].ended.kind is Kind.CALLER_LEFT
    assert sinks[1].parts == [[2], [2]]
    assert sinks[1].ended is None


async def test_a_caller_that_has_enough_is_answered() -> None:
    async with running_lane(at_once) as running:
        enough, sink = job(value=1), Collected()
        slot = Endless(0)
        running.pool.free = [slot]  # type: ignore[list-item]
        running.lane.accept(enough, sink)
        await asyncio.wait_for(slot.began.wait(), 60)
        running.lane.leave(enough, "3")
        await asyncio.wait_for(slot.closed.wait(), 60)
        await asyncio.wait_for(sink.over.wait(), 60)
    assert (sink.parts, sink.ended) == ([[1]], None)
    assert (running.seen.answers, running.seen.failures) == (1, 0)


class Endless(Telling):
    """A slot whose model gives one answer and goes on; it says when it has begun, and when it is closed."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.began, self.closed = asyncio.Event(), asyncio.Event()

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        emit(echo(batch), 1)
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.closed.set()
        raise AssertionError("it waits for ever")


@pytest.mark.parametrize("with_end", [True, False])
async def test_a_call_that_can_carry_one_answer_is_refused(with_end: bool) -> None:
    async with running_lane(at_once) as running:
        running.pool.free = [Telling(2, with_end)]  # type: ignore[list-item]
        sink = OneAnswer()
        running.lane.accept(job(value=1), sink)
        with pytest.raises(HubError, match="several answers") as caught:
            await sink.future
    assert caught.value.kind is Kind.UNSUPPORTED


async def test_rows_that_the_other_side_dropped_are_not_in_its_answers() -> None:
    async with running_lane(at_once) as running:

        class Dropping(Telling):
            async def run(self, batch: Batch, emit: Emit) -> Ran:
                self.runs += 1
                rest = Batch(batch.jobs[1:], batch.reason)
                emit(echo(rest), 1, (0,))
                emit(echo(rest), 1, (0,))
                return Ran(None, Times(), dropped=(0,))

        slot = Dropping(0)
        late, good = await collected(running, slot, job(value=1), job(value=2))
    assert slot.runs == 1
    assert (late.parts, good.parts) == ([], [[2], [2]])
    assert isinstance(late.ended, HubError)
    assert late.ended.kind is Kind.DEADLINE
    assert good.ended is None
