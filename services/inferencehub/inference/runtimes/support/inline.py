"""Inline runs: decides which runs are so short that the event loop may do them itself. Pure: takes sizes and times.

Handing a run to a thread and getting the result back takes 40 to 80 us, more than a small model runs. But the loop must
stay free for health checks and other calls. So a run is done inline only if many runs in a row have been short, and if
its input has at most twice as many bytes as the largest of them. A run that is not short starts the count again. A long
run ends inline runs for this model for ever, because its time depends on more than the input's size.

Times are CPU times of the thread, because waiting for other threads says nothing about the model. They still vary a
lot: if the gateway uses the same core, a run of 6 us with warm caches can take 80 us, and in 1 of 100 cases 220 us.
"""

from __future__ import annotations

SHORT_S, LONG_S = 0.0002, 0.01
# The limit with only one core. With several cores, the loop could do other work while a thread runs the model.
ALONE_SHORT_S = 0.0005
IN_A_ROW = 100  # short runs that are needed before the first inline run


class InlineRuns:
    """The history of one model's runs.

    Args:
        cores: number of cores that the process may use.
    """

    __slots__ = ("_in_a_row", "_long", "_most", "_short_s")

    def __init__(self, cores: int) -> None:
        self._short_s = SHORT_S if cores > 1 else ALONE_SHORT_S
        self._in_a_row = self._most = 0
        self._long = False

    def fits(self, size: int) -> bool:
        """Whether a run with an input of `size` bytes is expected to be short."""
        return size <= 2 * self._most and self._in_a_row >= IN_A_ROW

    def ran(self, size: int, seconds: float) -> None:
        """Record that a run with an input of `size` bytes took this many seconds of CPU time."""
        if seconds <= self._short_s:
            if not self._long:
                self._in_a_row += 1
                self._most = max(self._most, size)
            return
        self._in_a_row = self._most = 0
        self._long = self._long or seconds > LONG_S
