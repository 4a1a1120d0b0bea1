"""A lane with slots that a test controls."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.lane import Lane
from inferencehub.core.lane.queues.queue import Queue
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.lane.sink import Emit, OneAnswer
from inferencehub.core.lane.slot import Ran
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse, Times
from tests.core.lane.jobs import echo, values
from tests.hub import eventually

Work = Callable[[Batch], Awaitable[InferResponse]]


class Pool:
    """Slots that all do the same work, and what ran in them: the numbers of each batch.

    The last `kept` free ones keep a batch for later.
    """

    def __init__(self, work: Work, slots: int, kept: int = 0) -> None:
        self.work = work
        self.kept = kept
        self.runs: list[list[float]] = []
        self.free = [Worker(self) for _ in range(slots)]
        self.closed = False

    def take(self, again: bool = False, at_once: bool = False) -> Worker | None:
        free = self.idle if at_once else 0 if self.closed else len(self.free)
        return self.free.pop() if free else None

    @property
    def idle(self) -> int:
        return 0 if self.closed else max(0, len(self.free) - self.kept)

    @property
    def spare(self) -> int:
        return self.idle

    def give(self, slot: Worker, again: bool = False) -> None:
        assert slot not in self.free
        self.free.append(slot)


class Worker:
    """A slot of a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.dropped: tuple[int, ...] = ()

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        self.pool.runs.append(values(batch.request()))
        return Ran(await self.pool.work(batch), Times(queue=0.001, compute=0.002), "a pod", self.dropped)


@dataclass
class Seen:
    """What a lane told its observer."""

    batches: list[int] = field(default_factory=list)
    answers: int = 0
    failures: int = 0
    back: Counter[Outcome] = field(default_factory=Counter)

    def dispatched(self, batch: Batch, now: float) -> None:
        self.batches.append(len(batch.jobs))

    def answered(self, ran: Ran, requests: int, rows: int, took: float, waited: float) -> None:
        self.answers += requests

    def failed(self, version: str, requests: int, took: float) -> None:
        self.failures += requests

    def returned(self, outcome: Outcome, jobs: int) -> None:
        self.back[outcome] += jobs


@dataclass
class Running:
    """A lane, its slots and its observer."""

    lane: Lane[Worker]
    pool: Pool
    seen: Seen

    def ask(self, job: Job, patience: int = 0) -> asyncio.Future[InferResponse]:
        """Submit a job as the tiers do; its one answer."""
        self.lane.refuse_in_vain(job.request.model, job.deadline)
        sink = OneAnswer()
        self.lane.accept(job, sink, patience)
        return sink.future

    async def answer(self, job: Job) -> InferResponse:
        """The answer of a job, whose caller leaves where the wait is cancelled."""
        future = self.ask(job)
        try:
            return await future
        finally:
            self.lane.leave(job)

    def submit(self, *jobs: Job) -> list[asyncio.Future[InferResponse]]:
        """Submit jobs as if each came in a pass of its own."""
        futures = []
        for one in jobs:
            futures.append(self.ask(one))
            self.lane.pump()
        return futures

    def submit_together(self, *jobs: Job) -> list[asyncio.Future[InferResponse]]:
        """Let jobs gather in front of closed slots, then open those."""
        self.pool.closed = True
        futures = self.submit(*jobs)
        self.open()
        return futures

    def open(self) -> None:
        self.pool.closed = False
        self.lane.pump()


@asynccontextmanager
async def running_lane(
    work: Work,
    slots: int = 1,
    max_rows: int = 8,
    limit: int = 100,
    most_bytes: int = 10_000,
    retries: RetryBudget | None = None,
    at_most_once: bool = False,
    floor: float = 0.0,
) -> AsyncIterator[Running]:
    """A lane that must be empty at the end: nobody waits, all slots are free, all bytes are given back."""
    pool, seen, held = Pool(work, slots), Seen(), ByteBudget(most_bytes)
    lane = Lane(Queue(max_rows, limit), pool, held, retries or RetryBudget(), seen, at_most_once, floor)
    yield Running(lane, pool, seen)
    await eventually(lambda: lane.idle)
    assert lane.in_use.jobs == len(lane.queue) == lane.queue.rows == held.held == 0
    assert len(lane.background) == lane.background.rows == 0
    assert len(pool.free) == slots


@asynccontextmanager
async def no_stray_errors() -> AsyncIterator[None]:
    """Fails where the event loop had to report an error that nobody read."""
    # What an earlier test left is not of this one; clients of httpx that nobody closed start a task when they are freed.
    for _ in range(2):
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    gc.collect()
    gc.freeze()  # what other tests keep takes seconds to look through, in each of these tests
    strays: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: strays.append(context))
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert not strays, str(strays)


async def at_once(batch: Batch) -> InferResponse:
    """Work that takes no time."""
    return echo(batch)


class Gate:
    """Work that waits until it is opened; `cancelled` counts the runs that were ended before."""

    def __init__(self, work: Work = at_once) -> None:
        self.work = work
        self.opened = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, batch: Batch) -> InferResponse:
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await self.work(batch)

    def open(self) -> None:
        self.opened.set()


def failing(
    outcome: Outcome, kind: Kind = Kind.MODEL_FAILED, when: Callable[[Batch], bool] = lambda _: True
) -> Work:
    """Work that gives no answer."""

    async def work(batch: Batch) -> InferResponse:
        if when(batch):
            raise NotAnswered(outcome, HubError(kind, "it went wrong"))
        return echo(batch)

    return work


async def outcomes(futures: list[asyncio.Future[InferResponse]]) -> list[list[float] | Kind]:
    """What became of each: its numbers, or the kind of its error."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    return [values(r) if isinstance(r, InferResponse) else error_kind(r) for r in results]


def error_kind(error: BaseException) -> Kind:
    assert isinstance(error, HubError), repr(error)
    return error.kind
