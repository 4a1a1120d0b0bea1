"""A histogram for hot paths: the same output as prometheus_client's, without its lock and its walk through the buckets.

Only the event loop's thread observes values, so no lock is needed. An observation is a search in a short list and two
additions. A scrape reads the current counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import time

from prometheus_client.core import Exemplar, HistogramMetricFamily

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


def names_of(bounds: Sequence[float]) -> Sequence[str]:
    """The buckets' values of the label `le`."""
    return [*[str(float(bound)) for bound in bounds], "+Inf"]


class Observations:
    """The histogram of one set of label values.

    Args:
        bounds: the upper bounds of the buckets, inclusive and ascending. Larger values go to one more bucket, "+Inf".
        names: of the buckets, as `names_of` gives them.
    """

    __slots__ = ("_exemplars", "bounds", "counts", "names", "sum")

    def __init__(self, bounds: Sequence[float], names: Sequence[str] = ()) -> None:
        self.bounds = bounds
        self.names = names or names_of(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self._exemplars: dict[int, tuple[str, float, float]] = {}  # of each bucket: trace, value, Unix time

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def show(self, value: float, trace_id: str) -> None:
        """Name the trace of a value that was counted just now; OpenMetrics has the newest one of each bucket."""
        at = bisect_left(self.bounds, value)
        self._exemplars[at] = trace_id, value, time()

    def buckets(self) -> list[Bucket]:
        """Upper bound, cumulative count, and exemplar if there is one, of each bucket, as Prometheus wants them."""
        buckets: list[Bucket] = list(zip(self.names, map(float, accumulate(self.counts)), strict=True))
        for at, (trace_id, value, when) in self._exemplars.items():
            bound, count, *_ = buckets[at]
            buckets[at] = (bound, count, Exemplar({"trace_id": trace_id}, value, when))
        return buckets


class Histogram:
    """A family of histograms. It is a collector: register it in a `CollectorRegistry`.

    Args:
        name, text: the metric's name and help text.
        labels: names of the labels.
        bounds: see `Observations`.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name = name
        self.text = text
        self.label_names = labels
        self.bounds = bounds
        self._names = names_of(bounds)
        self._children: dict[tuple[str, ...], Observations] = {}

    def labels(self, *values: str) -> Observations:
        """The histogram of these label values; created at the first call."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Observations(self.bounds, self._names)
        return child

    def totals(self) -> dict[tuple[str, ...], int]:
        """How many values were observed, by label values."""
        return {values: sum(child.counts) for values, child in list(self._children.items())}

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The current values, for prometheus_client."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.label_names)
        for values, child in list(self._children.items()):
            family.add_metric(values, child.buckets(), child.sum)
        yield family
