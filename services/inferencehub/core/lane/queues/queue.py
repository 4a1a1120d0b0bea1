"""The queue in front of a model's slots: which jobs wait, in which order, and which leave next. Pure.

Jobs wait in order of their turns, which is that of arrival. The next batch always begins with the first job, and takes as
many of the jobs behind it as may go with it: they have the same merge key, and together at most `max_rows` rows. A job that
may not merge ends the batch, so the order is kept.

Where jobs have flows (`Flow`), turns are by start-time fair queueing (Goyal, Vin and Cheng, 1996): a flow's next turn begins
where its last one ends, its rows divided by its weight later, but not before the turn of what left last. So flows that
always wait get rows by their weights, not by the number of their callers, and the first job of a flow goes before the second ones of
others. A flow can't fill the queue for others: if it is full, the flow with the most rows for its weight gives one up.

Jobs that were lost with their pod wait apart (`lost`): each of them runs by itself, and the others need not wait until
it can. See `retries.py`.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from math import ceil
from operator import attrgetter

from inferencehub.core.auth.caller import Flow
from inferencehub.core.lane.batch import Batch, Reason
from inferencehub.core.lane.job import Job, Share
from inferencehub.core.lane.load_shedding import foretold
from inferencehub.core.lane.slot import S, Slots
from inferencehub.core.values.errors import HubError, Kind

MOST_SHARES = 1000  # flows that are known; those that have nothing here are forgotten then
turn_of = attrgetter("turn")
Next = tuple[S, bool, Batch]  # a slot, whether it is taken to run something again, and what it runs


class Queue:
    """Jobs in order of their turns, in front of slots.

    Args:
        max_rows: rows of one batch; 0 if the model does not batch.
        limit: rows that may wait; a job is accepted while fewer rows wait.
    """

    def __init__(self, max_rows: int, limit: int) -> None:
        self.max_rows = max_rows
        self.limit = limit
        self.rows = 0
        self.jobs: deque[Job] = deque()
        self.lost: deque[Job] = deque()
        self._clock = 0.0  # the turn of the job that came last; with flows, of the one that left last
        self._served = 0.0  # where the latest turn ends of those that have left
        self._shares: dict[str, Share] = {}
        self._most_shares = MOST_SHARES
        self._left = 0  # jobs that left for a slot

    def __len__(self) -> int:
        return len(self.jobs) + len(self.lost)

    @property
    def full(self) -> bool:
        """Whether the queue accepts no more jobs."""
        return self.rows >= self.limit

    def busy(self, job: Job) -> HubError:
        """Why a job is refused while the queue is full."""
        sentence = f"{self.rows} rows wait for it and its limit is {self.limit}"
        return HubError(Kind.BUSY, f"model '{job.request.model}' is busy: {sentence}")

    def push(self, job: Job) -> None:
        """Add a job. One that was lost before it came here waits with those that were lost here.

        Raises:
            HubError: BUSY if the queue is full.
        """
        if self.rows >= self.limit:
            raise self.busy(job)
        job.left_before = self._left
        if job.flow is not None:
            self._push_fairly(job, job.flow)
        else:
            self._clock += 1
            job.turn = self._clock
            (self.lost if job.losses else self.jobs).append(job)
        self.rows += job.rows

    def _push_fairly(self, job: Job, flow: Flow) -> None:
        share = self._shares.get(flow.name)
        if share is None:
            if len(self._shares) >= self._most_shares:
                self._forget()
            share = self._shares[flow.name] = Share()
        share.weight = flow.weight
        share.rows += job.rows
        job.share = share
        job.turn = self._turn_of(flow)
        share.ends = job.ends = job.turn + job.rows / flow.weight
        jobs = self.lost if job.losses else self.jobs
        if not jobs or jobs[-1].turn <= job.turn:
            jobs.append(job)
        else:
            jobs.insert(bisect_right(jobs, job.turn, key=turn_of), job)

    def _turn_of(self, flow: Flow) -> float:
        """The turn of the next job of a flow."""
        share = self._shares.get(flow.name)
        return self._clock if share is None else max(self._clock, share.ends)

    def _forget(self) -> None:
        """Drop the shares of flows that have nothing here and owe nothing."""
        clock = self._clock
        self._shares = {name: one for name, one in self._shares.items() if one.rows or one.ends > clock}
        self._most_shares = max(MOST_SHARES, 2 * len(self._shares))  # so that looking costs little

    def giver(self, job: Job) -> Job | None:
        """Who makes room in a full queue for a job of another flow: the last job of the flow with the most rows for its
        weight, if these are more than the job's flow would have; else None.
        """
        if job.flow is None:
            return None
        own = self._shares.get(job.flow.name)
        load = ((own.rows if own is not None else 0) + job.rows) / job.flow.weight
        for share in sorted(self._shares.values(), key=load_of, reverse=True):
            if share is own or load_of(share) <= load:
                return None
            found = next((one for one in reversed(self.jobs) if one.share is share), None)
            if found is not None:  # else all of it was lost, and waits apart
                return found
        return None

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Return a batch's jobs to the head of the queue; they were accepted once, so the limit does not apply.

        Several batches may return in any order: the jobs are sorted by their turns.
        """
        if not jobs:
            return
        back = [job for job in jobs if not job.losses]
        while back and self.jobs and self.jobs[0].turn < jobs[-1].turn:
            back.append(self.jobs.popleft())
        for job in jobs:
            job.left_before = self._left
        back.sort(key=turn_of)
        self.jobs.extendleft(reversed(back))
        lost = [job for job in jobs if job.losses]
        self.lost = deque(sorted([*self.lost, *lost], key=turn_of))
        self.rows += sum([job.rows for job in jobs])
        for job in jobs:
            if job.share is not None:
                job.share.rows += job.rows

    def not_served(self, jobs: int) -> None:
        """Of the jobs that left, `jobs` did not run: they do not count for `wait`."""
        self._left -= jobs

    def _count_left(self, batch: Sequence[Job]) -> None:
        """Move the clock on, and count what has left of each flow."""
        for job in batch:
            share = job.share
            if share is not None:
                share.rows -= job.rows
                share.left = max(share.left, job.ends)
                self._served = max(self._served, job.ends)
        # Where nothing waits any more, nobody is behind.
        self._clock = max(self._clock, batch[-1].turn if self.jobs else self._served)

    def wait(self, now: float, flow: Flow | None = None) -> float:
        """Estimated seconds that a new job of a flow would wait; 0 if there is no estimate. See `load_shedding.py`."""
        jobs = self.jobs
        if not jobs:
            return 0.0
        ahead = len(jobs) if flow is None else bisect_right(jobs, self._turn_of(flow), key=turn_of)
        left = self._left - jobs[0].left_before
        return foretold(ahead, left, now - jobs[0].arrived) if left else 0.0

    def remove(self, job: Job) -> bool:
        """Remove a job; False if it is not in the queue."""
        try:
            (self.lost if job.losses else self.jobs).remove(job)
        except ValueError:
            return False
        self.rows -= job.rows
        share = job.share
        if share is not None:
            share.rows -= job.rows
            if not share.rows:
                share.ends = share.left  # what did not run is not owed
            elif job.ends == share.ends:  # it was the last one
                share.ends = job.turn
        return True

    def waiting(self) -> list[Job]:
        """The waiting jobs: those that were lost, then the others, the oldest first."""
        return [*self.lost, *self.jobs]

    def take_lost(self) -> Batch:
        """The oldest job that was lost, in a batch of its own."""
        job = self.lost.popleft()
        self.rows -= job.rows
        if job.share is not None:
            job.share.rows -= job.rows
        self._left += 1
        return Batch((job,), Reason.ALONE)

    def next(self, slots: Slots[S]) -> Next[S] | None:
        """The next batch and its slot; None if nothing waits, or no slot is free for it."""
        idle = slots.idle if self.rows > 1 else 1
        slot = slots.take(again=True) if self.lost else None
        if slot is not None:
            return slot, True, self.take_lost()
        slot = slots.take() if self.jobs else None
        if slot is None:
            return None
        batch = self.take(idle)
        assert batch is not None
        return slot, False, batch

    def take(self, shared_by: int = 1) -> Batch | None:
        """The next batch, or None if nothing waits but jobs that were lost.

        Args:
            shared_by: the number of slots that could begin at once; the waiting rows are shared between them.
        """
        jobs = self.jobs
        if not jobs:
            return None
        most = min(self.max_rows, ceil(self.rows / shared_by)) if shared_by > 1 else self.max_rows
        head = jobs.popleft()
        batch, rows, key = [head], head.rows, head.key if jobs else None
        while jobs and rows < most and not head.alone:
            following = jobs[0]
            if following.alone or rows + following.rows > self.max_rows or following.key != key:
                break
            batch.append(jobs.popleft())
            rows += following.rows
        self.rows -= rows
        self._left += len(batch)
        if head.share is not None:
            self._count_left(batch)
        if head.alone or not self.max_rows:
            return Batch((head,), Reason.ALONE)
        return Batch(tuple(batch), Reason.FULL if rows >= self.max_rows else Reason.SLOT_FREE)

    def fill(self, batch: Batch, most: int = sys.maxsize) -> Batch:
        """A batch that leaves, with what waits here and may go with it, as long as it has fewer than `most` rows."""
        if batch.reason is not Reason.SLOT_FREE or not self.jobs:
            return batch
        rows, key, more = batch.rows, batch.jobs[0].key, list[Job]()
        while self.jobs and rows < most:
            following = self.jobs[0]
            if following.alone or rows + following.rows > self.max_rows or following.key != key:
                break
            more.append(self.jobs.popleft())
            rows += following.rows
            self.rows -= following.rows
        if not more:
            return batch
        self._left += len(more)
        if more[0].share is not None:
            self._count_left(more)
        return Batch((*batch.jobs, *more), Reason.FULL if rows >= self.max_rows else Reason.SLOT_FREE)


def load_of(share: Share) -> float:
    """The rows of a share that wait, for its weight."""
    return share.rows / share.weight
