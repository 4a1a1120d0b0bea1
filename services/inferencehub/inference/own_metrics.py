"""What Python models measure themselves (`inferencehub.model.metrics`): kept by model version."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from inferencehub.model.metrics import METRICS, SERIES, Family

logger = logging.getLogger(__name__)


class Kept(NamedTuple):
    """A metric of a model version, as it was declared, and the numbers of each set of label values."""

    declared: Family
    series: dict[tuple[str, ...], list[float]]


class OwnMetrics:
    """The metrics of one model version. A process sends few (`METRICS`, `SERIES`); of several together, no more are kept.

    Args:
        model, version: of the model.
        others: those of all models of the pod: under one name, all have one kind.
    """

    def __init__(self, model: str, version: str, others: Iterable[OwnMetrics] = ()) -> None:
        self.model, self.version = model, version
        self.kept: dict[str, Kept] = {}
        self._others = others
        self._told: set[str] = set()  # names of which some is left out, and the log says so

    def add(self, instance: int, family: Family) -> None:
        """Take what has changed in an instance."""
        declared = family._replace(series=())
        kept = self.kept.get(family.name)
        if kept is None or kept.declared != declared:  # its file was changed, and loaded again after a crash
            if len(self.kept) >= METRICS and kept is None:
                return self._leave_out(family.name, f"the model has {METRICS} metrics")
            for other in self._others:
                theirs = other.kept.get(family.name)
                if other is not self and theirs is not None and theirs.declared.kind != family.kind:
                    kind = theirs.declared.kind
                    return self._leave_out(family.name, f"it is a {kind} of model '{other.model}'")
            kept = self.kept[family.name] = Kept(declared, {})
        for values, numbers in family.series:
            labels = (*values, str(instance)) if family.kind == "gauge" else values
            known = kept.series.get(labels)
            if known is not None:
                top = [0.0] * len(numbers) if family.kind == "gauge" else known
                known[:] = map(sum, zip(top, numbers, strict=True))
            elif family.kind == "gauge" or len(kept.series) < SERIES:  # a gauge's end with their process
                kept.series[labels] = list(numbers)
            else:
                self._leave_out(family.name, f"all processes together have {SERIES} sets of label values")
        return None

    def drop_gauges(self, instance: int) -> None:
        """A process has ended: its gauges mean nothing any more. What it has counted stays."""
        for kept in self.kept.values():
            if kept.declared.kind == "gauge":
                for labels in [labels for labels in kept.series if labels[-1] == str(instance)]:
                    del kept.series[labels]

    def clear(self) -> None:
        """The model is unloaded."""
        self.kept.clear()

    def _leave_out(self, name: str, why: str) -> None:
        if name not in self._told and len(self._told) < METRICS:
            self._told.add(name)
            about = {"model": self.model, "version": self.version, "metric": name, "reason": why}
            logger.warning("a model's metric is left out", extra=about)
