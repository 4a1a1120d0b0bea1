"""Collectors that write their own text, and the registry that knows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inferencehub.core.process.scrape.text import escaped, header, in_pieces, number

Values = Iterable[tuple[tuple[str, ...], float]]


class Written(Collector, ABC):
    """A collector that writes its own text: that of what it collects, and much faster."""

    @abstractmethod
    def text(self, openmetrics: bool) -> Iterator[str]:
        """The text in pieces. Between two of them the event loop may run, and the values change. An empty one is a pause.

        Args:
            openmetrics: whether it is that of OpenMetrics, which has exemplars, and not that of 0.0.4.
        """


class Registry(CollectorRegistry):
    """A registry that shows its collectors, in the order of their registration."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        """See `CollectorRegistry`."""
        super().register(collector)
        self.collectors.append(collector)

    def unregister(self, collector: Collector) -> None:
        """See `CollectorRegistry`."""
        super().unregister(collector)
        self.collectors.remove(collector)


class OfMany(Written):
    """A family with many sets of labels, whose values something else has.

    Args:
        name: of the family; without the `_total` of a counter's samples.
        text: the help text.
        labels: names of the labels.
        values: returns the values of the labels, and the number.
    """

    family: ClassVar[type[CounterMetricFamily | GaugeMetricFamily]]
    kind: ClassVar[str]
    suffix: ClassVar[str]

    def __init__(self, name: str, text: str, labels: Sequence[str], values: Callable[[], Values]) -> None:
        self.name = name
        self._help = text
        self._labels = labels
        self._values = values
        order = sorted(range(len(labels)), key=labels.__getitem__)
        pairs = ",".join(f'{labels[at]}="{{{at}}}"' for at in order)
        self._line = f"{name}{self.suffix}{{{{{pairs}}}}} ".format

    def collect(self) -> list[Metric]:
        """See `Collector`."""
        family = self.family(self.name, self._help, labels=self._labels)
        for values, count in self._values():
            family.add_metric(values, count)
        return [family]

    def text(self, openmetrics: bool) -> Iterator[str]:
        """See `Written`."""
        yield header(self.name, self._help, self.kind, openmetrics)
        line = self._line
        yield from in_pieces(
            f"{line(*map(escaped, values))}{number(count)}\n" for values, count in self._values()
        )


class CounterOfMany(OfMany):
    """A counter; see `OfMany`."""

    family, kind, suffix = CounterMetricFamily, "counter", "_total"


class GaugeOfMany(OfMany):
    """A gauge; see `OfMany`."""

    family, kind, suffix = GaugeMetricFamily, "gauge", ""
