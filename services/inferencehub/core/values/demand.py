"""Demand: how many pods' worth of work there is. The signal that autoscaling follows; pure.

Each running or waiting request needs a slot, and those that go as one batch need one together. The demand for a model
is the slots that its requests need, over the slots that one pod has for it; that for a pool of pods is the largest of
its models', for each pod serves all of them. So 1.4 keeps two pods busy at 70 % of their slots, also when the model
itself only waits, which no reading of CPU shows.

A gateway knows its own requests. As the slots of a pod are the same for all gateways, demands of a model add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

METRIC = "inferencehub_demand"  # the sum's name in Kubernetes' external metrics and in Prometheus


class ModelDemand(msgspec.Struct, frozen=True):
    """What one gateway's requests need of one model in one pool, on average over its window.

    Args:
        pool: the pool of pods; "" where pods tell none.
        version: the model's; "" where no pod was there to tell.
        running: slots that requests hold.
        queued: slots that waiting requests need.
        slots: slots of one pod.
    """

    pool: str
    model: str
    version: str
    running: float
    queued: float
    slots: int

    @property
    def pods(self) -> float:
        """Pods' worth of work."""
        return (self.running + self.queued) / max(1, self.slots)


class Report(msgspec.Struct, frozen=True):
    """What one gateway says, with the seconds that it is an average of."""

    window_s: float
    models: list[ModelDemand]


def slots_needed(requests: int, rows: int, max_batch_size: int) -> int:
    """Slots for requests that wait: batches are as full as they may be. Each request has one row at least."""
    return min(requests, -(-rows // max_batch_size)) if max_batch_size else requests


Model = tuple[str, str, str]  # pool, model, version


def by_model(reports: Iterable[Report]) -> dict[Model, float]:
    """Pods' worth of work by model, over all gateways that report."""
    models: dict[Model, float] = {}
    for report in reports:
        for demand in report.models:
            key = (demand.pool, demand.model, demand.version)
            models[key] = models.get(key, 0.0) + demand.pods
    return models


def by_pool(models: Mapping[Model, float]) -> dict[str, float]:
    """The demand for each pool: the largest of its models'.

    What is held for a model without a version, by a gateway that has not seen a pod, comes on top of each version.
    """
    pools: dict[str, float] = {}
    for (pool, model, version), pods in models.items():
        held = models.get((pool, model, ""), 0.0) if version else 0.0
        pools[pool] = max(pods + held, pools.get(pool, 0.0))
    return pools
