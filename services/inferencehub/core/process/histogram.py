"""A histogram for hot paths: what prometheus_client shows, without its lock and its walk through the buckets.

An observation is a search in a short list and two additions, for only the event loop's thread observes. A scrape reads
the counts there and then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily


class Observations:
    """One set of labels.

    Args:
        bounds: the upper bounds of the buckets, inclusive and ascending; what is above the last one has its own.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and cumulative count of each bucket, as Prometheus wants them."""
        names = [*[str(float(bound)) for bound in self.bounds], "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class Histogram:
    """A family of histograms; a collector, to be registered.

    Args:
        name, text: the family's name and its help text.
        labels: names of its labels.
        bounds: see `Observations`.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name = name
        self.text = text
        self.label_names = labels
        self.bounds = bounds
        self._children: dict[tuple[str, ...], Observations] = {}

    def labels(self, *values: str) -> Observations:
        """Where values of these labels are observed."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Observations(self.bounds)
        return child

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family as it is now."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.label_names)
        for values, child in list(self._children.items()):
            family.add_metric(values, child.buckets(), child.sum)
        yield family
