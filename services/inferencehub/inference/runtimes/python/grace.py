"""How long a run that outlives its callers may go on. Pure: takes seconds, gives seconds.

To kill a process costs the next callers the time of its start, so a run may go on for at least that time, and for as
long as the longest of the recent runs took. Only a run that hangs takes longer.
"""

from __future__ import annotations

LEAST_S = 2.0
FADES = 0.98  # factor by which a long run is forgotten with each run after it


class Grace:
    """The grace of one model's runs.

    Args:
        most_s: the most seconds of grace.
    """

    __slots__ = ("_longest_s", "_most_s", "_start_s")

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._start_s = self._longest_s = 0.0

    def started(self, seconds: float) -> None:
        """A process took so long to start and to load the model."""
        self._start_s = seconds

    def ran(self, seconds: float) -> None:
        """A run has ended after so many seconds, in time or not."""
        self._longest_s = max(seconds, self._longest_s * FADES)

    @property
    def seconds(self) -> float:
        """How long a run may go on beyond its deadline."""
        return min(self._most_s, max(LEAST_S, self._start_s, self._longest_s))
