"""Which runs are so short that the event loop may do them itself. Pure: sizes and times come in as numbers.

To hand a run to a thread and take it back costs 40 to 80 us, more than a small model works. But the loop answers health
and everybody else, so it does only what cannot keep it: a run of at most twice as many bytes as one that was short,
once many in a row have been. One that was not ends that, and one that was long ends it for good: the time of such a
model depends on more than the size of what it is given.

A time is the thread's own of the processor, for what a thread waits for others says nothing of the model. It is still
far from steady: where the gateway has the same core, 6 us on warm caches become 80, and 220 in one run of a hundred.
"""

from __future__ import annotations

SHORT_S, LONG_S = 0.0002, 0.01
# On one core; beside others the loop could do something else while a thread runs the model.
ALONE_SHORT_S = 0.0005
IN_A_ROW = 100  # short runs, before the loop does the next one


class InlineRuns:
    """What was seen of a model's runs.

    Args:
        cores: those that the process may use.
    """

    __slots__ = ("_in_a_row", "_long", "_most", "_short_s")

    def __init__(self, cores: int) -> None:
        self._short_s = SHORT_S if cores > 1 else ALONE_SHORT_S
        self._in_a_row = self._most = 0
        self._long = False

    def fits(self, size: int) -> bool:
        """Whether a run of an input of so many bytes will be short."""
        return size <= 2 * self._most and self._in_a_row >= IN_A_ROW

    def ran(self, size: int, seconds: float) -> None:
        """A run of an input of `size` bytes took so many seconds."""
        if seconds <= self._short_s:
            if not self._long:
                self._in_a_row += 1
                self._most = max(self._most, size)
            return
        self._in_a_row = self._most = 0
        self._long = self._long or seconds > LONG_S
