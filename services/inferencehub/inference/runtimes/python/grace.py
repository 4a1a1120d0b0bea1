"""How long a run that outlives its callers may go on.

To kill a process costs the next callers the time of its start, so a run may go on for at least that time, and for as
long as the longest of the recent runs took. Only a run that hangs takes longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

LEAST_S = 2.0
FADES = 0.98  # factor by which a long run is forgotten with each run after it
MOST_TIMES = 3
HELD_UP_S = 0.25  # if a timer is later than this, the event loop was held up


class Grace:
    """The grace of one model's runs. Pure: takes seconds, gives seconds.

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


class Timer:
    """Calls a function at a time, unless it is cancelled before.

    If the loop was held up then, it has not read what came meanwhile, and perhaps not sent what it had to. So it gets
    the time that it has lost, but at most two seconds, and three times.

    Args:
        loop: the event loop.
        due: the time, in seconds of `time.monotonic`.
        over: the function.
    """

    __slots__ = ("_due", "_handle", "_loop", "_over", "_times")

    def __init__(self, loop: asyncio.AbstractEventLoop, due: float, over: Callable[[], None]) -> None:
        self._loop = loop
        self._over = over
        self._times = 0
        self._set(due)

    def cancel(self) -> None:
        """Do not call the function any more."""
        self._handle.cancel()

    def _set(self, due: float) -> None:
        self._due = due
        self._handle = self._loop.call_later(due - monotonic(), self._on_time)

    def _on_time(self) -> None:
        now = monotonic()
        late = now - self._due
        if late > HELD_UP_S and self._times < MOST_TIMES:
            self._times += 1
            self._set(now + min(late, LEAST_S))
        else:
            self._over()
