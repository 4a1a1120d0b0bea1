"""How many slots of a lane are in use, and how many calls have needed lately. Pure: time comes in as a number."""

from __future__ import annotations

from math import inf

from inferencehub.core.lane.batch import Batch

LATELY_S = 10.0  # what calls needed counts for one to two such times


class InUse:
    """See the module's text.

    Attributes:
        jobs: that run now, of calls and of background work.
        calls: slots that run calls now, alone or with background work.
        background: slots that run background work alone.
    """

    def __init__(self) -> None:
        self.jobs = self.calls = self.background = 0
        self._most = self._most_before = 0  # slots with calls, in this time and in the one before
        self._ends = -inf

    def began(self, batch: Batch, now: float) -> None:
        """A batch takes a slot."""
        self.jobs += len(batch.jobs)
        if of_background(batch):
            self.background += 1
            return
        self._look(now)
        self.calls += 1
        self._most = max(self._most, self.calls)

    def ended(self, batch: Batch) -> None:
        """A batch has left its slot."""
        self.jobs -= len(batch.jobs)
        if of_background(batch):
            self.background -= 1
        else:
            self.calls -= 1

    def left_to_calls(self, now: float) -> int:
        """Slots that calls do not use now, and needed lately."""
        self._look(now)
        return max(self._most, self._most_before) - self.calls

    def _look(self, now: float) -> None:
        if now >= self._ends:
            self._most_before = self._most if now < self._ends + LATELY_S else self.calls
            self._most, self._ends = self.calls, now + LATELY_S


def of_background(batch: Batch) -> bool:
    """Whether a batch has no calls."""
    return batch.jobs[0].background and all(job.background for job in batch.jobs)
