"""One timer for the deadlines of many jobs. Nearly all jobs end long before, and a timer for each one would cost more.

The timer is set to the earliest deadline, and checks all jobs when it fires. If the job with this deadline has ended,
it fires in vain; then it is set to the next deadline. It keeps nothing in memory: a lane may be gone long before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from math import inf
from time import monotonic
from weakref import ref

from inferencehub.core.lane.job import Job

# The least time between two checks: jobs that expire one after another shall not cause a check of all jobs each.
STEP_S = 0.001


class Deadlines:
    """See the module's text.

    Args:
        loop: the event loop.
        jobs: a live view of the jobs that have a deadline.
        expire: called with each job whose deadline has passed, the oldest job first.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, jobs: Collection[Job], expire: Callable[[Job], None]
    ) -> None:
        self._loop = loop
        self._jobs = jobs
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None
        self.at = inf  # when the timer fires, on the lanes' clock; call `set` for an earlier deadline

    def set(self, deadline: float, now: float) -> None:
        """Set the timer to `deadline`, which is earlier than `at`."""
        if self._timer is not None:
            self._timer.cancel()
        self.at = deadline
        self._timer = self._loop.call_later(max(STEP_S, deadline - now), look, ref(self))

    def look(self) -> None:
        """Expire the jobs whose deadline has passed, and set the timer to the next deadline."""
        now = monotonic()
        self._timer, self.at = None, inf
        for job in [job for job in self._jobs if job.deadline <= now]:
            self._expire(job)
        earliest = min([job.deadline for job in self._jobs], default=inf)
        if earliest < self.at:
            self.set(earliest, now)


def look(deadlines: ref[Deadlines]) -> None:
    """The timer has fired."""
    found = deadlines()
    if found is not None:
        found.look()
