"""How fast a lane is served, and so which calls would be in vain. Pure: time comes in as a number.

A queue in order of arrival that gets more than it can serve, from callers who all give up after the same time, ends up
serving each of them just too late: what runs is thrown away and nobody is answered. Two rules keep it at its best:

- A call that would wait beyond its deadline is refused when it comes, so that its caller knows at once.
- A call with less time left than the fastest run of late takes is dropped before it runs.

The wait is foretold from the queue: since its oldest call came so many have left, and that took so long. This looks
back just as far as the queue is long, and says nothing while nothing leaves.
"""

from __future__ import annotations

LEAST_LEFT = 8  # calls that must have left for a rate
SLOWER = 1.05  # by how much the fastest run may be outdone with each run
FRESH_S = (
    1.0  # how long after a run its time is believed, at least; else a model that was slow once would stay so
)


class Pace:
    """What was seen of runs."""

    __slots__ = ("_at", "_fastest")

    def __init__(self) -> None:
        self._fastest = 0.0
        self._at = 0.0

    def ran(self, seconds: float, now: float) -> None:
        """A run was answered after so many seconds."""
        self._fastest = min(seconds, self._fastest * SLOWER) if self.least(now) else seconds
        self._at = now

    def least(self, now: float) -> float:
        """Seconds that a run takes at least; 0 where that is not known."""
        return self._fastest if now - self._at <= max(FRESH_S, 2 * self._fastest) else 0.0


def foretold(ahead: int, left: int, seconds: float) -> float:
    """Seconds until a call that comes now leaves; 0 where that can't be told.

    Args:
        ahead: calls that wait before it.
        left: calls that have left since the oldest of these came.
        seconds: how long ago that was.
    """
    return ahead * seconds / left if left >= LEAST_LEFT else 0.0
