"""What a Python model measures itself; its pod shows it on /metrics, with the labels `model` and `version`.

    from inferencehub.model import metrics

    TOKENS = metrics.counter("tokens", "tokens that were read", ("kind",))


    class Model:
        def predict(self, inputs):
            TOKENS.inc(17, kind="prompt")

becomes `inferencehub_model_tokens_total{model="…",version="…",kind="prompt"} 17.0`. All of it may be called from any thread.
A metric has at most `SERIES` sets of label values, so a label must not be what callers choose freely.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from math import isfinite
from threading import Event, Lock
from typing import NamedTuple, TypeVar

METRICS, SERIES, LABELS, BUCKETS = 100, 100, 5, 50
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
TEXT = 100  # characters of a description and of a label's value
RESERVED = frozenset({"model", "version", "instance", "le"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class MetricError(Exception):
    """A metric is declared or used in a wrong way; the sentence says what was expected and what came."""


class Family(NamedTuple):
    """What has changed in a metric: of a counter and a histogram what came on top, of a gauge the value.

    Args:
        kind: "counter", "gauge" or "histogram".
        name: without prefix.
        text: its description.
        labels: names.
        buckets: upper bounds, inclusive and ascending; the last bucket "+Inf" is not among them.
        series: values of the labels, and numbers: one, or the counts of all buckets and the sum.
    """

    kind: str
    name: str
    text: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    series: tuple[tuple[tuple[str, ...], tuple[float, ...]], ...]


class Metric:
    """What all kinds have in common. `counter`, `gauge` and `histogram` make them."""

    kind = ""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = ()
    ) -> None:
        self.name, self.text, self.labels, self.buckets = name, text[:TEXT], labels, buckets
        self._series: dict[tuple[str, ...], list[float]] = {}
        self._changed: set[tuple[str, ...]] = set()

    def take(self) -> Family | None:
        """What has changed since it was taken last; None if nothing has."""
        if not self._changed:
            return None
        series = tuple([(values, tuple(self._series[values])) for values in self._changed])
        for values in self._changed if self.kind != "gauge" else ():
            self._series[values] = [0.0] * len(self._series[values])
        self._changed = set()
        return Family(self.kind, self.name, self.text, self.labels, self.buckets, series)

    def _numbers(self, labels: dict[str, object]) -> list[float]:
        """The numbers of a set of label values, to be changed now, under the lock."""
        if labels.keys() != set(self.labels):
            names, came = ", ".join(self.labels) or "none", ", ".join(labels) or "none"
            raise MetricError(f"metric '{self.name}' has the labels: {names}; got: {came}")
        values = tuple([str(labels[name])[:TEXT] for name in self.labels])
        numbers = self._series.get(values)
        if numbers is None:
            if len(self._series) >= SERIES:
                raise MetricError(
                    f"metric '{self.name}' has {SERIES} sets of label values, the most that it may have;"
                    f" the next would be {', '.join(values)}"
                )
            size = len(self.buckets) + 2 if self.kind == "histogram" else 1
            numbers = self._series[values] = [0.0] * size
        self._changed.add(values)
        changed.set()
        return numbers

    def _number(self, value: float) -> float:
        """A finite number, or an error."""
        try:
            if isfinite(number := value + 0.0):
                return number
        except TypeError:
            pass
        raise MetricError(f"metric '{self.name}' takes a finite number, got {value!r}")


class Counter(Metric):
    """Counts what only grows."""

    kind = "counter"

    def inc(self, amount: float = 1, /, **labels: object) -> None:
        """Add an amount, 0 or more.

        Raises:
            MetricError: if it is less, or the labels are not those of the metric or too many.
        """
        if (number := self._number(amount)) < 0:
            raise MetricError(f"counter '{self.name}' takes 0 or more, got {amount}")
        with lock:
            self._numbers(labels)[0] += number


class Gauge(Metric):
    """A value that goes up and down. Each instance has its own, with the label `instance`."""

    kind = "gauge"

    def set(self, value: float, /, **labels: object) -> None:
        """Set the value.

        Raises:
            MetricError: if it is no finite number, or the labels are not those of the metric or too many.
        """
        number = self._number(value)
        with lock:
            self._numbers(labels)[0] = number

    def inc(self, amount: float = 1, /, **labels: object) -> None:
        """Add an amount, which may be negative.

        Raises:
            MetricError: as `set`.
        """
        number = self._number(amount)
        with lock:
            self._numbers(labels)[0] += number


class Histogram(Metric):
    """Counts values in buckets."""

    kind = "histogram"

    def observe(self, value: float, /, **labels: object) -> None:
        """Count a value.

        Raises:
            MetricError: if it is no finite number, or the labels are not those of the metric or too many.
        """
        number = self._number(value)
        with lock:
            numbers = self._numbers(labels)
            numbers[bisect_left(self.buckets, number)] += 1
            numbers[-1] += number


M = TypeVar("M", bound=Metric)
lock = Lock()
changed = Event()  # something is to be taken
declared: dict[str, Metric] = {}


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """A counter, shown as `inferencehub_model_<name>_total`. Asked for again with the same arguments, it is the same one.

    Args:
        name: lower-case letters, digits and _, without a prefix.
        text: what it counts, for people.
        labels: names of its labels, at most `LABELS`.

    Raises:
        MetricError: if a name is not valid, or the name has been taken for another metric.
    """
    return declare(Counter(name.removesuffix("_total"), text, tuple(labels)))


def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge, shown as `inferencehub_model_<name>`. Otherwise as `counter`.

    Raises:
        MetricError: as `counter`.
    """
    return declare(Gauge(name, text, tuple(labels)))


def histogram(
    name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS
) -> Histogram:
    """A histogram, shown as `inferencehub_model_<name>_bucket`, `_count` and `_sum`. Otherwise as `counter`.

    Args:
        name, text, labels: as in `counter`.
        buckets: their upper bounds, ascending, at most `BUCKETS`; for seconds if not given.

    Raises:
        MetricError: as `counter`, or if the bounds are not ascending.
    """
    bounds = tuple(map(float, buckets))
    if (
        list(bounds) != sorted(set(bounds))
        or not 0 < len(bounds) <= BUCKETS
        or not all(map(isfinite, bounds))
    ):
        raise MetricError(f"metric '{name}': expected 1 to {BUCKETS} ascending bounds, got {list(buckets)}")
    return declare(Histogram(name, text, tuple(labels), bounds))


def declare(metric: M) -> M:
    """The metric, or the one that was declared alike before.

    Raises:
        MetricError: as `counter`.
    """
    for name in (metric.name, *metric.labels):
        if not NAME.fullmatch(name):
            raise MetricError(f"metric '{metric.name}': '{name}' is no name: expected {NAME.pattern}")
    if RESERVED & set(metric.labels) or len(set(metric.labels)) != len(metric.labels):
        raise MetricError(f"metric '{metric.name}': labels differ and are none of {sorted(RESERVED)}")
    if len(metric.labels) > LABELS:
        raise MetricError(
            f"metric '{metric.name}' has {len(metric.labels)} labels, expected at most {LABELS}"
        )
    with lock:
        known = declared.get(metric.name)
        if known is None:
            if len(declared) >= METRICS:
                raise MetricError(
                    f"metric '{metric.name}': there are {METRICS}, the most that a model may have"
                )
            declared[metric.name] = metric
            return metric
    if isinstance(known, type(metric)) and (known.labels, known.buckets) == (metric.labels, metric.buckets):
        return known
    raise MetricError(f"metric '{metric.name}' is a {known.kind} with other labels or buckets already")


def take() -> list[Family]:
    """What has changed in all metrics since the last time."""
    with lock:
        changed.clear()
        return [family for metric in declared.values() if (family := metric.take()) is not None]
