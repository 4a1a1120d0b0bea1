"""Rates, latencies and batches of each model, out of the histograms that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import add
from typing import Any

from inferencehub.core.lane.batch import Reason
from inferencehub.core.process.metrics import ROWS, SECONDS
from inferencehub.gateway.console.window import Window, quantile
from inferencehub.gateway.metrics import Metrics

QUANTILES = (0.5, 0.95, 0.99)
REASONS = tuple(reason.value for reason in Reason)
Key = tuple[str, str, str]  # front, model, status


class Traffic:
    """See the module's text.

    Args:
        metrics: the gateway's.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.forget()

    def forget(self) -> None:
        """Nobody looks any more."""
        self._times, self._rows, self._reasons = Window[Key](), Window[str](), Window[str]()

    def second(self) -> list[dict[str, Any]]:
        """What each model did: `now` in the last second, all else in the last minute, or since somebody looks.

        The model "" has the calls that reached none.
        """
        metrics = self._metrics
        now = self._times.take((key, seen.counts) for key, seen in metrics.requests.items())  # type: ignore[misc]
        self._rows.take((key[0], seen.counts) for key, seen in metrics.batch_rows.items())
        self._reasons.take(dispatched(metrics))
        recent, shown = by_model(now), dict[str, dict[str, Any]]()
        for model, counts in by_model(self._times.sums).items():
            shown[model] = {
                "model": model,
                "seconds": max(1, self._times.seconds),
                "count": int(sum(counts)),
                "quantiles": [quantile(q, SECONDS, counts) for q in QUANTILES],
                "minute": filled(counts),
                "now": filled(recent.get(model, ())),
                "statuses": {},
            }
        for (_, model, status), counts in self._times.sums.items():
            statuses = shown[model]["statuses"]
            statuses[status] = statuses.get(status, 0) + int(sum(counts))
        for name, window in (("batches", self._rows), ("reasons", self._reasons)):
            for model, counts in window.sums.items():
                if model in shown:
                    shown[model][name] = list(map(int, counts))
        return list(shown.values())


def filled(buckets: Sequence[float]) -> list[tuple[int, int]]:
    """The buckets that are not empty: which, and how many observations."""
    return [(at, int(n)) for at, n in enumerate(buckets) if n]


def by_model(counts: dict[Key, list[float]]) -> dict[str, list[float]]:
    """The buckets of each model, of all fronts and statuses."""
    found: dict[str, list[float]] = {}
    for (_, model, _), buckets in counts.items():
        held = found.get(model)
        found[model] = buckets if held is None else list(map(add, held, buckets))
    return found


def dispatched(metrics: Metrics) -> Iterator[tuple[str, Sequence[float]]]:
    """How often batches of each model left, by reason in the order of `REASONS`."""
    found: dict[str, dict[str, float]] = {}
    for family in metrics.dispatches.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                found.setdefault(sample.labels["model"], {})[sample.labels["reason"]] = sample.value
    for model, counts in found.items():
        yield model, [counts.get(reason, 0.0) for reason in REASONS]


SCALES = {"seconds": SECONDS, "rows": ROWS, "reasons": REASONS, "quantiles": QUANTILES}
