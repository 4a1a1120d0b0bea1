"""What counters have counted within the last minute, one second at a time, for as long as somebody looks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from operator import add, sub
from typing import Generic, TypeVar

K = TypeVar("K")
SECONDS = 60


class Window(Generic[K]):
    """Counters by key, such as the buckets of histograms. `sums` has what each key's counters grew by in the window.

    Nothing is known of the time before the first `take`.
    """

    def __init__(self) -> None:
        self.sums: dict[K, list[float]] = {}
        self._last: dict[K, Sequence[float]] | None = None
        self._steps: deque[dict[K, list[float]]] = deque()

    @property
    def seconds(self) -> int:
        """How much of the window is known: 0 to `SECONDS`."""
        return len(self._steps)

    def take(self, counters: Iterable[tuple[K, Sequence[float]]]) -> dict[K, list[float]]:
        """Take the counters of another second; returns those that have grown since the last one, and by how much."""
        before, now = self._last, dict[K, Sequence[float]]()
        step: dict[K, list[float]] = {}
        for key, counts in counters:
            known = (before or {}).get(key)
            if known == counts:
                now[key] = known
                continue
            now[key] = list(counts)
            if before is not None:
                step[key] = list(counts) if known is None else list(map(sub, counts, known))
        self._last = now
        if before is None:
            return step
        self._steps.append(step)
        for key, grown in step.items():
            held = self.sums.get(key)
            self.sums[key] = list(grown) if held is None else list(map(add, held, grown))
        if len(self._steps) > SECONDS:
            for key, gone in self._steps.popleft().items():
                left = list(map(sub, self.sums[key], gone))
                if any(left):
                    self.sums[key] = left
                else:
                    del self.sums[key]
        return step


def quantile(q: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """The value below which a share of observations lies, as Prometheus's `histogram_quantile` estimates it.

    Args:
        q: the share, from 0 to 1.
        bounds: upper bounds of the buckets, without that of the last one, which has none.
        counts: observations of each bucket, not cumulative.

    Returns:
        The estimate, at most the largest bound; None if there are no observations.
    """
    rank = q * sum(counts)
    if not rank:
        return None
    below = 0.0
    for at, bound in enumerate(bounds):
        if below + counts[at] >= rank:
            low = bounds[at - 1] if at else 0.0
            return low + (bound - low) * (rank - below) / counts[at]
        below += counts[at]
    return bounds[-1]
