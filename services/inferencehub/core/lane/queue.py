"""The queue in front of a model's slots: which jobs wait, in which order, and which leave next. Pure.

Jobs wait in order of arrival. The next batch always begins with the oldest job, and takes as many of the jobs behind it
as may go with it: they have the same merge key, and together at most `max_rows` rows. A job that may not merge ends the
batch, so the order of arrival is kept.

Jobs that were lost with their pod wait apart (`lost`): each of them runs by itself, and the others need not wait until
it can. See `retries.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil

from inferencehub.core.lane.batch import Batch, Reason
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.load_shedding import foretold
from inferencehub.core.values.errors import HubError, Kind


class Queue:
    """Jobs in order of arrival, in front of slots.

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
        self._turns = 0
        self._left = 0  # jobs that left for a slot

    def __len__(self) -> int:
        return len(self.jobs) + len(self.lost)

    @property
    def full(self) -> bool:
        """Whether the queue accepts no more jobs."""
        return self.rows >= self.limit

    def push(self, job: Job) -> None:
        """Add a job at the end.

        Raises:
            HubError: BUSY if the queue is full.
        """
        if self.rows >= self.limit:
            raise HubError(
                Kind.BUSY,
                f"model '{job.request.model}' is busy: {self.rows} rows wait for it and its limit is {self.limit}",
            )
        self._turns += 1
        job.turn = self._turns
        job.left_before = self._left
        self.jobs.append(job)
        self.rows += job.rows

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Return a batch's jobs to the head of the queue; they were accepted once, so the limit does not apply.

        Several batches may return in any order: the jobs are sorted by the order of their arrival.
        """
        back = [job for job in jobs if not job.losses]
        while back and self.jobs and self.jobs[0].turn < jobs[-1].turn:
            back.append(self.jobs.popleft())
        for job in jobs:
            job.left_before = self._left
        self.jobs.extendleft(sorted(back, key=lambda job: job.turn, reverse=True))
        lost = [job for job in jobs if job.losses]
        self.lost = deque(sorted([*self.lost, *lost], key=lambda job: job.turn))
        self.rows += sum([job.rows for job in jobs])

    def not_served(self, jobs: int) -> None:
        """Of the jobs that left, `jobs` did not run: they do not count for `wait`."""
        self._left -= jobs

    def wait(self, now: float) -> float:
        """Estimated seconds that a new job would wait; 0 if there is no estimate. See `load_shedding.py`."""
        if not self.jobs:
            return 0.0
        oldest = self.jobs[0]
        left = self._left - oldest.left_before
        return foretold(len(self.jobs), left, now - oldest.arrived) if left else 0.0

    def remove(self, job: Job) -> bool:
        """Remove a job; False if it is not in the queue."""
        try:
            (self.lost if job.losses else self.jobs).remove(job)
        except ValueError:
            return False
        self.rows -= job.rows
        return True

    def waiting(self) -> list[Job]:
        """The waiting jobs: those that were lost, then the others, the oldest first."""
        return [*self.lost, *self.jobs]

    def take_lost(self) -> Batch:
        """The oldest job that was lost, in a batch of its own."""
        job = self.lost.popleft()
        self.rows -= job.rows
        self._left += 1
        return Batch((job,), Reason.ALONE)

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
        if head.alone or not self.max_rows:
            return Batch((head,), Reason.ALONE)
        return Batch(tuple(batch), Reason.FULL if rows >= self.max_rows else Reason.SLOT_FREE)
