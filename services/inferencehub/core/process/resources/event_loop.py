"""How late the event loop is. Whatever holds it up holds up all requests, and probes too."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from inferencehub.core.process.histogram import Histogram

EVERY_S = 0.1
# A freeze is one late timer, but it had been several: without those that it has missed, no quantile would show it. At most so
# many are counted, which is a minute.
MOST_MISSED = 600
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class EventLoopLag:
    """The histogram `inferencehub_process_event_loop_lag_seconds`: how much later than asked for a timer fires, or would have.

    Args:
        registry: has the histogram.
        every_s: the time between two timers, in seconds.
    """

    def __init__(self, registry: CollectorRegistry, every_s: float = EVERY_S) -> None:
        text = "how late the event loop is: the delay of a timer that fires ten times a second"
        family = Histogram("inferencehub_process_event_loop_lag_seconds", text, (), BOUNDS)
        registry.register(family)
        self._lag = family.labels()
        self._every_s = every_s
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measure from now on."""
        self._loop = asyncio.get_running_loop()
        self._again()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self) -> None:
        self._due = self._loop.time() + self._every_s
        self._timer = self._loop.call_at(self._due, self._fired)

    def _fired(self) -> None:
        late_s = max(0.0, self._loop.time() - self._due)
        self._lag.observe(late_s)
        for missed in range(1, 1 + min(int(late_s / self._every_s), MOST_MISSED)):
            self._lag.observe(late_s - missed * self._every_s)
        self._again()
