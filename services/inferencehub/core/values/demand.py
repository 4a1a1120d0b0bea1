"""Demand: how many pods the current work would keep busy. Autoscaling follows this number. Pure functions.

Each running or waiting request needs a slot; requests that go in one batch share one slot. The demand for a model is
the number of slots that its requests need, divided by the number of slots that one pod has for the model. The demand
for a pool of pods is the largest demand of its models, because each pod serves all of them. For example, a demand of
1.4 keeps two pods busy at 70 % of their slots. This is true even if the model spends its time waiting, which CPU usage
does not show.

A gateway knows its own requests only. A pod has the same number of slots for all gateways, so the demands that the
gateways report for one model can be added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

METRIC = "inferencehub_demand"  # name of the sum in Kubernetes' external metrics and in Prometheus


class ModelDemand(msgspec.Struct, frozen=True):
    """The slots that one gateway's requests need of one model in one pool, on average over the gateway's window.

    Args:
        pool: the pool of pods; "" if its pods report no pool.
        model: the model's name.
        version: the model's version; "" if the gateway has seen no pod that could report it.
        running: slots that running requests hold.
        queued: slots that waiting requests need.
        slots: slots that one pod has for the model.
    """

    pool: str
    model: str
    version: str
    running: float
    queued: float
    slots: int

    @property
    def pods(self) -> float:
        """The number of pods that this work would keep busy."""
        return (self.running + self.queued) / max(1, self.slots)


class Report(msgspec.Struct, frozen=True):
    """The report of one gateway: its demand by model, and the seconds over which it was averaged."""

    window_s: float
    models: list[ModelDemand]


def slots_needed(requests: int, rows: int, max_batch_size: int) -> int:
    """The number of slots that waiting requests need, if every batch is as full as possible.

    Args:
        requests: number of requests; each has at least one row.
        rows: rows of all requests together.
        max_batch_size: rows of a full batch; 0 if the model does not batch.
    """
    return min(requests, -(-rows // max_batch_size)) if max_batch_size else requests


Model = tuple[str, str, str]  # pool, model, version


def by_model(reports: Iterable[Report]) -> dict[Model, float]:
    """The demand for each model in pods, summed over all reports."""
    models: dict[Model, float] = {}
    for report in reports:
        for demand in report.models:
            key = (demand.pool, demand.model, demand.version)
            models[key] = models.get(key, 0.0) + demand.pods
    return models


def by_pool(models: Mapping[Model, float]) -> dict[str, float]:
    """The demand for each pool in pods: the largest demand of its models.

    A gateway that has not seen a pod yet reports demand for a model without a version. That demand is added to the
    demand for each version of the model.
    """
    pools: dict[str, float] = {}
    for (pool, model, version), pods in models.items():
        held = models.get((pool, model, ""), 0.0) if version else 0.0
        pools[pool] = max(pods + held, pools.get(pool, 0.0))
    return pools
