"""A lane: a queue in front of a limited number of slots. The same class runs in the gateway and in the pod.

When a slot is free and jobs wait, the lane takes as many as may go together, merges them, runs the batch, splits the
answer and answers each job. It never waits for a timer: while slots are free, a batch leaves at once; while all slots
are busy, the next batch grows. "At once" means at the end of the event loop's pass, so that calls of one pass leave
together. Fronts whose calls come in several passes say how many passes without a new one the lane waits (`patience`).

In the gateway a slot belongs to a replica at a pod; in the pod it is a model instance. A `Slots` gives out the free ones.
The rules are in `job.py`, `batch.py` and `queues/`; this file has the clock and the tasks:

- each job has a `Sink`, which gets its answers at the end of the loop's pass; one timer serves all deadlines
  (`deadlines.py`); the clock is `monotonic`, because uvloop's own clock has whole ms;
- each batch is one task, which holds its slot until the run has really ended;
- if a caller leaves, its job is taken out of the queue; a batch that runs is cancelled when all its callers have left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Generic

from inferencehub.core.auth.caller import Flow
from inferencehub.core.lane.batch import Batch, NotAnswered, cut_off, unreadable
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.deadlines import Deadlines
from inferencehub.core.lane.job import Job, Run, drop_expired
from inferencehub.core.lane.load_shedding import RunTimes, check_wait
from inferencehub.core.lane.queues.background import Background
from inferencehub.core.lane.queues.in_use import InUse
from inferencehub.core.lane.queues.queue import Queue
from inferencehub.core.lane.retries import RetryBudget, may_run_again, why_not
from inferencehub.core.lane.sink import End, Sink, caller_left, deadline_passed, end_all
from inferencehub.core.lane.slot import Observer, Ran, S, Slots, count_closed
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse

logger = logging.getLogger(__name__)

ENOUGH = 32  # rows that do not wait for more: each has a small part of the batch's shared cost already


class Lane(Generic[S]):
    """See the module's text.

    Args:
        queue: the calls that wait.
        slots: where batches run.
        bytes_held: the process's budget of bytes, shared by all its lanes.
        retries: the budget of second tries.
        observer: is notified of batches that leave and jobs that return.
        at_most_once: whether lost work must not run again.
        floor: the least share of the rows that background work gets; see `queues/background.py`.
    """

    def __init__(
        self,
        queue: Queue,
        slots: Slots[S],
        bytes_held: ByteBudget,
        retries: RetryBudget,
        observer: Observer,
        at_most_once: bool = False,
        floor: float = 0.0,
    ) -> None:
        self.queue = queue
        self.background = Background(queue.max_rows, queue.limit, floor)
        self.slots = slots
        self.bytes_held = bytes_held
        self.retries = retries
        self.observer = observer
        self.at_most_once = at_most_once
        self.run_times = RunTimes()
        self.loop = asyncio.get_running_loop()
        self.in_use = InUse()
        self._open: dict[Job, Sink] = {}
        self._deadlines = Deadlines(self.loop, self._open.keys(), self._expire)
        self._soon = False  # whether `pump` is called at the end of this pass of the loop, or soon after
        self._patience = 0  # passes that it may still wait
        self._enough = min(ENOUGH, queue.max_rows)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._open and not self.in_use.jobs

    def accept(self, job: Job, sink: Sink, patience: int = 0) -> None:
        """Accept a job that has just arrived; its answers go to `sink` later. If its caller leaves, call `leave`.

        The job waits for others until `patience` passes of the loop in a row have brought none.

        Raises:
            HubError: BUSY if the lane or the process is full, DEADLINE if the job's deadline has passed.
        """
        if job.deadline <= job.arrived:
            raise deadline_passed(job)
        if self._soon and self.queue.full:
            self.pump()  # jobs of this pass have not left yet, though a slot may be free for them
        self.bytes_held.take(job.size)
        queue = self.background if job.background else self.queue
        while queue.rows >= queue.limit and (giver := queue.giver(job)) is not None:
            self._fail(giver, queue.busy(giver))
        try:
            queue.push(job)
        except HubError:
            self.bytes_held.give(job.size)
            raise
        self.retries.earn()
        self._open[job] = sink
        if job.deadline < self._deadlines.at:
            self._deadlines.set(job.deadline, job.arrived)
        self._patience = patience
        if not self._soon:
            self._soon = True
            self.loop.call_soon(self._pump_soon)

    def refuse_in_vain(self, model: str, deadline: float, flow: Flow | None = None) -> None:
        """Load shedding, before a call of a flow becomes a job; see `load_shedding.py`.

        Raises:
            HubError: BUSY if the call would wait beyond its deadline.
        """
        if self.queue.rows:
            now = monotonic()
            if wait := self.queue.wait(now, flow):
                check_wait(model, wait, self.run_times.usual(now), deadline - now)

    def leave(self, job: Job, enough: str | None = None) -> None:
        """The caller of `job` has left, or has `enough` (see `count_closed`): it must not wait, or run for nobody else."""
        if (sink := self._close(job, enough)) is not None:
            self.loop.call_soon(sink.end, caller_left(job.request.model) if enough is None else None)

    def withdraw(self, job: Job) -> Sink | None:
        """Take back a job that waits: its sink, which gets no end; None if it does not wait any more."""
        return None if job.run is not None else self._close(job, counts=False)

    def refuse(self, unwanted: Callable[[Job], bool], error: HubError) -> None:
        """Answer `error` to each job that waits and is `unwanted`."""
        for job in self.waiting():
            if unwanted(job):
                self._fail(job, error)

    def waiting(self) -> list[Job]:
        """All jobs that wait."""
        return [*self.queue.waiting(), *self.background.waiting()]

    def _pump_soon(self) -> None:
        if self._patience and 0 < self.queue.rows < self._enough and self.slots.idle:
            self._patience -= 1
            self.loop.call_soon(self._pump_soon)
            return
        self._soon = False
        self.pump()

    def pump(self) -> None:
        """Send batches while jobs wait and a slot is free."""
        queue, background = self.queue, self.background
        while queue.rows or background.rows:
            now = monotonic()
            if background.rows:
                found = background.next_of_both(queue, self.slots, now, self.run_times, self.in_use)
            else:
                found = queue.next(self.slots)
            if found is None:
                return
            self._send(*found, now)

    def _send(self, slot: S, again: bool, batch: Batch, now: float) -> None:
        """Run a batch in a slot, without the jobs whose deadline is too near for a run."""
        until = now + (self.run_times.usual(now) if self.queue.rows else self.run_times.least(now))
        late = [job for job in batch.jobs if job.deadline <= until]
        if late:
            for job in late:
                self._fail(job, deadline_passed(job))
            self.queue.not_served(len([job for job in late if not job.background]))
            batch = batch.without(late)
            if not batch.jobs:
                self.slots.give(slot, again)
                return
        run = Run(len(batch.jobs), again)
        for job in batch.jobs:
            job.waited += now - job.arrived
            if len(job.members) > 1 and (expired := drop_expired(job, now)):
                self.observer.failed(job.request.version, expired, expired * (now - job.received))
            job.run = run
        self.in_use.began(batch, now)
        self.observer.dispatched(batch, now)
        run.task = self.loop.create_task(self._run(slot, batch, run))

    async def _run(self, slot: S, batch: Batch, run: Run) -> None:
        run.started = True
        started = monotonic()
        try:
            if run.wanted:
                self._answer(batch, await slot.run(batch, partial(self._part, batch)), started, run)
        except NotAnswered as failure:
            self._not_answered(batch, failure)
        except asyncio.CancelledError:
            if run.wanted:  # the lane cancels only batches without callers; so the run itself was cut off
                self._not_answered(batch, cut_off(batch.jobs[0].request.model))
            raise
        except Exception as error:
            logger.exception("run failed", extra={"model": batch.jobs[0].request.model})
            self._not_answered(batch, unreadable(error))
        finally:
            run.task = None  # the task's exception has this frame, and so `run`: a reference cycle
            for job in batch.jobs:
                job.run = None
            self.in_use.ended(batch)
            self.slots.give(slot, run.again)
            self.pump()

    def _answer(self, batch: Batch, ran: Ran, started: float, run: Run) -> None:
        kept = self._without(batch, ran.dropped) if ran.dropped else batch
        now = monotonic()
        took, times = now - started, ran.times
        self.run_times.ran(took, now)
        trip = ran.trip(kept.rows, took)
        answers = [None] * len(kept.jobs) if ran.response is None else kept.split(ran.response)
        ends: list[tuple[Sink, End]] = []
        size = requests = rows = 0
        all_took = waited = 0.0
        for job, answer in zip(kept.jobs, answers, strict=True):
            job.trip = trip
            sink = self._open.pop(job, None)
            if sink is not None:
                size += job.size
                callers = len(job.members)
                requests += callers
                rows += job.rows
                all_took += callers * (now - job.received)
                waited += callers * (job.waited + times.queue)
                ends.append((sink, answer))
        self.bytes_held.give(size)
        run.wanted -= len(ends)
        if ends:
            self.observer.answered(ran, requests, rows, all_took, waited)
        self.loop.call_soon(end_all, ends)

    def _without(self, batch: Batch, dropped: Sequence[int]) -> Batch:
        """The batch without the jobs that the other side has dropped; these have reached their deadline."""
        late = [batch.jobs[index] for index in dropped]
        for job in late:
            self._fail(job, deadline_passed(job))
        return batch.without(late)

    def _part(self, batch: Batch, response: InferResponse, weight: int, dropped: Sequence[int] = ()) -> None:
        """Pass on one of several answers to a batch, while it runs."""
        kept = self._without(batch, dropped) if dropped else batch
        for job, part in zip(kept.jobs, kept.split(response), strict=True):
            job.has_parts = True
            if (sink := self._open.get(job)) is not None:
                sink.part(part, weight)

    def _not_answered(self, batch: Batch, failure: NotAnswered) -> None:
        verdicts = may_run_again(batch, failure, self.at_most_once, self.retries)
        again = []
        for job, back in zip(batch.jobs, verdicts, strict=True):
            job.run = None
            if not back:
                job.trip = failure.trip or job.trip
                self._fail(job, why_not(job, failure))
            elif job in self._open:
                again.append(job)
        if again:
            self.observer.returned(failure.outcome, len(again))
            for job in again:
                job.came_back(monotonic(), failure.outcome.value, failure.error.detail)
            self.queue.put_back([job for job in again if not job.background])
            self.background.put_back([job for job in again if job.background])

    def _expire(self, job: Job) -> None:
        if not job.waits_on(monotonic()):
            self._fail(job, deadline_passed(job))

    def _fail(self, job: Job, error: HubError) -> None:
        if (sink := self._close(job)) is not None:
            self.loop.call_soon(sink.end, error)

    def _close(self, job: Job, enough: str | None = None, counts: bool = True) -> Sink | None:
        """Remove a job from the lane; returns its sink, or None if the job has ended already."""
        if (sink := self._open.pop(job, None)) is None:
            return None
        self.bytes_held.give(job.size)
        if counts:
            count_closed(self.observer, job, enough, monotonic() - job.received)
        if job.run is None:
            (self.background if job.background else self.queue).remove(job)
        else:
            job.run.leave(asyncio.current_task())
        return sink
