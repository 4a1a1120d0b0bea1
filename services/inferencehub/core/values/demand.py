"""Demand: how many pods the current work would keep busy. Autoscaling follows this number. Pure functions.

Each running or waiting request needs a slot; requests that go in one batch share one slot. The demand for a model is
the number of slots that its requests need, divided by the number of slots that one pod has for the model. The demand
for a pool of pods is the largest demand of its models, because each pod serves all of them. For example, a demand of
1.4 keeps two pods busy at 70 % of their slots. This is true even if the model spends its time waiting, which CPU usage
does not show.

A gateway knows its own requests only. A pod has the same number of slots for all gateways, so the demands that the
gateways report for one model can be added. What waits in a place that all gateways share is reported by each of them,
and counted once.
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
    """The report of one gateway.

    Args:
        window_s: seconds over which it was averaged.
        models: the demand of the gateway's own requests, by model.
        shared: the demand of what waits for all gateways, by model; each of them reports it.
    """

    window_s: float
    models: list[ModelDemand]
    shared: list[ModelDemand] = []


def slots_needed(requests: int, rows: int, max_batch_size: int) -> int:
    """The number of slots that waiting requests need, if every batch is as full as possible.

    Args:
        requests: number of requests; each has at least one row.
        rows: rows of all requests together.
        max_batch_size: rows of a full batch; 0 if the model does not batch.
    """
    return min(requests, -(-rows // max_batch_size)) if max_batch_size else requests


def slots_for_backlog(jobs: int, run_s: float | None, drain_s: float) -> float:
    """The number of slots that work off what may take its time, and no more: one upload does not take all pods.

    Args:
        jobs: how many wait.
        run_s: seconds of a slot that one of them takes; None if none has run yet, and then one slot finds out.
        drain_s: seconds in which they are to run.
    """
    if run_s is None:
        return float(min(jobs, 1))
    return jobs * min(1.0, run_s / drain_s)


Model = tuple[str, str, str]  # pool, model, version


def by_model(reports: Iterable[Report]) -> dict[Model, float]:
    """The demand for each model in pods: the sum over all reports, and once what the gateways share.

    Of several reports of what they share, the largest one for a model counts: one gateway may know more than another.
    """
    models: dict[Model, float] = {}
    shared: dict[tuple[str, str], list[ModelDemand]] = {}
    for report in reports:
        for demand in report.models:
            add(models, demand)
        for name, told in grouped(report.shared).items():
            shared[name] = max(shared.get(name, []), told, key=in_pods)
    for told in shared.values():
        for demand in told:
            add(models, demand)
    return models


def add(models: dict[Model, float], demand: ModelDemand) -> None:
    """Add a demand to those by model."""
    key = (demand.pool, demand.model, demand.version)
    models[key] = models.get(key, 0.0) + demand.pods


def grouped(demands: Iterable[ModelDemand]) -> dict[tuple[str, str], list[ModelDemand]]:
    """Demands by pool and model, whatever the version."""
    found: dict[tuple[str, str], list[ModelDemand]] = {}
    for demand in demands:
        found.setdefault((demand.pool, demand.model), []).append(demand)
    return found


def in_pods(demands: Iterable[ModelDemand]) -> float:
    """The sum of demands, in pods."""
    return sum(demand.pods for demand in demands)


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
