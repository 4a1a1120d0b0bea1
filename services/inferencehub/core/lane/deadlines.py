"""One timer for the deadlines of many jobs: nearly all jobs end long before, and a timer each costs more than they do.

It is set to the earliest deadline that it was told of, and looks at all jobs when it goes off. So it goes off in vain
where that job has ended, but then not again before the next earliest deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from math import inf
from time import monotonic

from inferencehub.core.lane.job import Job

# Between two looks, so that many jobs that end one after another are not all looked at for each.
STEP_S = 0.001


class Deadlines:
    """See the module's text.

    Args:
        loop: the event loop.
        jobs: those that have a deadline, which come and go.
        expire: called with each whose deadline has passed, the oldest first.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, jobs: Collection[Job], expire: Callable[[Job], None]
    ) -> None:
        self._loop = loop
        self._jobs = jobs
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None
        self.at = inf  # on the lanes' clock; a job with an earlier deadline is told of by `set`

    def set(self, deadline: float, now: float) -> None:
        """Go off at `deadline`, which is earlier than `at`."""
        if self._timer is not None:
            self._timer.cancel()
        self.at = deadline
        self._timer = self._loop.call_later(max(STEP_S, deadline - now), self._look)

    def _look(self) -> None:
        now = monotonic()
        self._timer, self.at = None, inf
        for job in [job for job in self._jobs if job.deadline <= now]:
            self._expire(job)
        earliest = min([job.deadline for job in self._jobs], default=inf)
        if earliest < self.at:
            self.set(earliest, now)
