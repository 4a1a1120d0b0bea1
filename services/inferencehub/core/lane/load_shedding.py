"""How fast a lane is served, and so which calls would be in vain. Pure: time comes in as a number.

A queue in order of arrival that gets more than it can serve, from callers who all give up after the same time, ends up
serving each of them just too late: what runs is thrown away and nobody is answered. Two rules keep it at its best:

- A call that would wait beyond its deadline is refused when it comes, so that its caller knows at once.
- A call that has less time left than a run takes is dropped before it runs: less than the fastest of late, or, while
  others wait who could have its place, less than a run usually takes.

The wait is foretold from the queue: since its oldest call came so many have left, and that took so long. This looks
back just as far as the queue is long, and says nothing while nothing leaves.
"""

from __future__ import annotations

from math import inf

from inferencehub.core.values.errors import HubError, Kind

LEAST_LEFT = 8  # calls that must have left for a rate
SLOWER = 1.05  # by how much the fastest run may be outdone with each run
WEIGHT = 0.1  # of the last run in what is usual
SPARE = 0.1  # of the time that a call has left: what was seen is not quite what will be
# How long after a run its time is believed, at least; else a model that was slow once would stay so.
FRESH_S = 1.0


class RunTimes:
    """What was seen of runs."""

    __slots__ = ("_at", "_fastest", "_usual")

    def __init__(self) -> None:
        self._fastest = self._usual = 0.0
        self._at = -inf

    def ran(self, seconds: float, now: float) -> None:
        """A run was answered after so many seconds."""
        if self._is_known(now):
            self._fastest = min(seconds, self._fastest * SLOWER)
            self._usual += WEIGHT * (seconds - self._usual)
        else:
            self._fastest = self._usual = seconds
        self._at = now

    def least(self, now: float) -> float:
        """Seconds that a run takes at least; 0 where that is not known."""
        return self._fastest if self._is_known(now) else 0.0

    def usual(self, now: float) -> float:
        """Seconds that a run takes on average; 0 where that is not known."""
        return self._usual if self._is_known(now) else 0.0

    def _is_known(self, now: float) -> bool:
        return now - self._at <= max(FRESH_S, 2 * self._fastest)


def too_late(wait: float, run: float, left: float) -> bool:
    """Whether a call would be answered after its deadline, or so near to it that this is a matter of luck.

    Args:
        wait: seconds foretold until it leaves, 0 where that can't be told.
        run: seconds that a run takes.
        left: seconds until its deadline.
    """
    return wait > 0 and wait + run > (1 - SPARE) * left


def foretold(ahead: int, left: int, seconds: float) -> float:
    """Seconds until a call that comes now leaves; 0 where that can't be told.

    Args:
        ahead: calls that wait before it.
        left: calls that have left since the oldest of these came.
        seconds: how long ago that was.
    """
    return ahead * seconds / left if left >= LEAST_LEFT else 0.0


def in_vain(model: str, wait: float, left: float) -> HubError:
    """The error of a call that would not be answered in time."""
    detail = f"model '{model}' is busy: calls wait {wait:.2g} s for it, and the deadline is in {left:.2g} s"
    return HubError(Kind.BUSY, detail)
