"""Background work in a lane: jobs that nobody waits for, and that shall not delay calls. Pure: time comes in as a number.

A lane has two queues, each with fair turns of its own. Calls go first:

- While no call waits, background work takes slots that would begin at once. A place on the way to a pod is left to calls,
  and so are as many slots as they have needed lately, for a run can't be interrupted. But one may always be its own.
- A batch of calls with room takes background work along (`_with`): rows that no call could have had.
- While calls leave, background work is owed `floor` of the rows, so that it does not starve. Whatever it gets counts. Once
  its first job is owed, the next batch begins with what is owed, and calls have the rest (`_take_due`). If none of them may go
  with it, it counts as a full batch. So while both wait, background work gets its floor, and calls get the others, each but
  for a batch and a job and what is owed for them. A pause is no credit.
- Slots may be busy with calls that are not seen here: those of lanes that share the pods. So where nothing of its own lane
  runs, a batch is also due if none has left for as long as a run takes, divided by the floor.

The two share no limit: background work takes no room from calls, and is not counted where their wait is foretold. Its
deadline is that of its run: it waits for as long as it has to.

Only a gateway's lanes have background work. A pod runs what it gets in the order in which it comes, for a gateway sends no
background work to a pod that is busy, but for what is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from inferencehub.core.lane.batch import Batch, Reason
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.load_shedding import RunTimes
from inferencehub.core.lane.queues.in_use import InUse
from inferencehub.core.lane.queues.queue import Next, Queue
from inferencehub.core.lane.slot import S, Slots

STARVED_S = 1.0  # the least time without a slot after which a batch is due


class Background(Queue):
    """The queue of background work; see the module's text.

    Args:
        max_rows, limit: as for any `Queue`.
        floor: its least share of the rows, at most a half; 0 if it may starve.
    """

    def __init__(self, max_rows: int, limit: int, floor: float) -> None:
        super().__init__(max_rows, limit)
        self._floor = floor
        self._owed_each = floor / (1.0 - floor)  # rows, for each row of calls that leaves
        self._owed = 0.0
        self._batch = max(1.0, max_rows)
        self._last = -inf  # when the last batch left

    def next_of_both(
        self, calls: Queue, slots: Slots[S], now: float, run_times: RunTimes, in_use: InUse
    ) -> Next[S] | None:
        """The next batch, of calls or of what waits here, and its slot; None if no slot is free for it.

        Args:
            calls: those that wait.
            slots: those of the lane.
            now: the time.
            run_times: how long runs take.
            in_use: those that the lane uses.
        """
        due = self._due() or (not in_use.jobs and self._starves(now, run_times.usual(now)))
        if due or not (calls.rows or (in_use.background and slots.spare <= in_use.left_to_calls(now))):
            found = self._next(calls, slots, due, now)
            if found is not None:
                return found
        if (found := calls.next(slots)) is None:
            return None
        slot, again, batch = found
        return slot, again, self._with(batch, batch.rows, now)

    def _next(self, calls: Queue, slots: Slots[S], due: bool, now: float) -> Next[S] | None:
        idle = slots.idle
        slot = slots.take(True, not due) if self.lost else None
        if slot is not None:
            batch = self.take_lost()
            self._begin(batch.jobs, self._batch, now)
            return slot, True, batch
        slot = slots.take(False, not due) if self.jobs else None
        if slot is None:
            return None
        if due:
            return slot, False, self._take_due(calls, now)
        taken = self.take(idle)
        assert taken is not None
        self._begin(taken.jobs, taken.rows, now)
        return slot, False, taken

    def _due(self) -> bool:
        """Whether what waits goes before calls, and to a pod that is busy."""
        # Of a model that runs one job at a time, a job may have more rows than ever are owed.
        return bool(self._floor) and self._owed >= min(self._head.rows, self._batch)

    def _starves(self, now: float, run_s: float) -> bool:
        """Whether nothing has left for long, though runs take `run_s` seconds (0 if that is not known)."""
        if not self._floor:
            return False
        return now - max(self._last, self._head.arrived) >= max(STARVED_S, run_s / self._floor)

    @property
    def _head(self) -> Job:
        return self.jobs[0] if self.jobs else self.lost[0]

    def _take_due(self, calls: Queue, now: float) -> Batch:
        """The next batch where it is due: what is owed, then calls, and what else fits."""
        head = self.jobs.popleft()
        self.rows -= head.rows
        if head.share is not None:
            self._count_left([head])
        if head.alone or not self.max_rows:
            batch = joined = Batch((head,), Reason.ALONE)
        else:
            batch = self.fill(Batch((head,), Reason.SLOT_FREE), int(self._owed))
            joined = calls.fill(batch)
        rows = joined.rows - batch.rows
        if not rows:  # it counts as a full batch, which jobs may fill
            batch = self.fill(batch)
            self._begin(batch.jobs, max(batch.rows, self.max_rows), now)
            return batch
        self._begin(batch.jobs, batch.rows, now)
        return self._with(joined, rows, now)

    def _with(self, batch: Batch, calls: int, now: float) -> Batch:
        """A batch that leaves with so many rows of calls, and what fits into the rest of it."""
        self._owed = min(self._owed + self._owed_each * calls, (1.0 + self._owed_each) * self._batch)
        joined = self.fill(batch)
        if joined is not batch:
            self._begin(joined.jobs[len(batch.jobs) :], joined.rows - batch.rows, now)
        return joined

    def _begin(self, jobs: Sequence[Job], rows: float, now: float) -> None:
        """Jobs leave, and count as so many rows."""
        self._owed = max(self._owed - rows, -max(rows, self._batch))
        self._last = now
        for job in jobs:
            job.begin(now)
