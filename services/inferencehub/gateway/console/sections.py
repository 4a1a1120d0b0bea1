"""Pods, lanes, demand, models, their versions, and jobs as the page shows them: plain values, read off what the gateway holds anyway."""

from __future__ import annotations

from itertools import islice
from time import time
from typing import Any

from inferencehub.gateway.jobs.collector import by_model
from inferencehub.gateway.jobs.running.worker import Worker
from inferencehub.gateway.routing.demand import SECOND_S, WINDOW_S, Demand
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable

# A page with more is not read by anybody; how many pods and models there are stands beside them. Rows of models are cut only
# once it is known who looks: theirs may be behind the first ones.
MOST_PODS, MOST_MODELS = 100, 100
MOST_SLOTS = 2000  # rows of models at pods: with many pods that have many models each, those with the most to do at each
MOST_VERSIONS = 20  # of a model, in the file of traffic
MOST_READ = 20_000  # of them that are read, in some 10 ms
Row = dict[str, Any]


def pods_of(fleet: Fleet) -> list[Row]:
    """Pods, and their models with their slots: how many there are, and how many batches hold one.

    `others` is what other gateways keep busy, as of the last answer.
    """
    pods = sorted(fleet.pods.values(), key=lambda pod: (pod.pool, pod.address))[:MOST_PODS]
    most = MOST_READ // max(1, len(pods))
    return [
        {
            "address": pod.address,
            "pool": pod.pool,
            "state": pod.state.value if pod.wanted else "leaving",
            "models": [
                {
                    "model": name,
                    "version": version,
                    "serves": replica.open,
                    "slots": replica.info.slots,
                    "running": replica.in_flight,
                    "others": replica.others,
                    "refuses": replica.refused,
                }
                for (name, version), replica in islice(pod.replicas.items(), most)
            ],
        }
        for pod in pods
    ]


def lanes_of(table: RoutingTable) -> list[Row]:
    """Each lane: what waits and runs, and the slots of the pods that serve it. The version is "" for the default one."""
    rows: list[Row] = [
        {
            "model": model,
            "version": version,
            "serves": lane.info.version,
            "open": lane.open,
            "waiting": len(lane.lane.queue),
            "rows": lane.lane.queue.rows,
            "background": lane.lane.background.rows,
            "running": lane.lane.in_use.jobs,
            "slots": sum([replica.info.slots for replica in lane.replicas if replica.open]),
            "pods": sum([replica.open for replica in lane.replicas]),
            "most_rows": lane.lane.queue.max_rows,
        }
        for (model, version), lanes in table.routes.items()
        for lane in lanes
        # The lane of a version is used only by those who name it; the default one has the others.
        if not version or not lane.lane.idle
    ]
    rows.sort(key=lambda row: (-row["waiting"] - row["running"], row["model"], row["version"]))
    return rows


def models_of(table: RoutingTable, known: dict[str, str]) -> list[Row]:
    """Each of the `known` models: its versions that can be called, and why it cannot be called; "" if it can.

    `note` says which pods are not as loads and unloads have left it.
    """
    versions: dict[str, list[str]] = {}
    for (name, version), lanes in table.routes.items():
        if version and any(lane.open for lane in lanes):
            versions.setdefault(name, []).append(version)
    return [
        {
            "model": name,
            "reason": reason,
            "versions": sorted(versions.get(name, ())),
            "note": table.not_as_wished.get(name, ""),
        }
        for name, reason in known.items()
    ]


def splits_of(table: RoutingTable) -> list[Row]:
    """How the calls of each model in the file of traffic are split, as at `/v2/models/MODEL/traffic`.

    Each version also has the share that is `wanted` by the file, and how many `pods` serve it. Of a model with too many
    versions, those that get most are shown, and how many `more` there are.
    """
    traffic = table.traffic
    if traffic is None:
        return []
    rows: list[Row] = []
    for model, split in sorted(traffic.splits.items()):
        page: Row = traffic.page(model)
        wanted = split.entry.shares
        whole = sum(wanted.values()) or 1.0
        versions = page["versions"]
        if len(versions) > MOST_VERSIONS:
            versions = sorted(versions, key=lambda row: -row["share"])[:MOST_VERSIONS]
        page["more"] = len(page["versions"]) - len(versions)
        page["versions"] = [
            row
            | {
                "wanted": wanted.get(row["version"], 0.0) / whole,
                "pods": pods_that_serve(table, model, row["version"]),
            }
            for row in versions
        ]
        rows.append(page)
    return rows


def pods_that_serve(table: RoutingTable, model: str, version: str) -> int:
    """How many pods serve a version of a model."""
    return sum([replica.open for lane in table.routes.get((model, version), ()) for replica in lane.replicas])


def demand_of(demand: Demand) -> list[Row]:
    """The work of each model of each pool in pods: `now` in the last second, `mean` as autoscalers see it."""
    found: dict[tuple[str, str, str], Row] = {}
    for window_s, name in ((SECOND_S, "now"), (WINDOW_S, "mean")):
        report = demand.report(window_s)
        for one in [*report.models, *report.shared]:
            key = one.pool, one.model, one.version
            row = found.setdefault(
                key, {"pool": one.pool, "model": one.model, "version": one.version, "slots": one.slots}
            )
            row[name] = row.get(name, 0.0) + round(one.pods, 3)
    return sorted(found.values(), key=lambda row: (-row.get("mean", 0.0), row["pool"], row["model"]))


def pools_of(fleet: Fleet) -> dict[str, int]:
    """How many pods of each pool accept work; of pools that may sleep too."""
    pools = {model.pool: 0 for model in fleet.on_demand.values()}
    for pod in fleet.pods.values():
        if pod.up:
            pools[pod.pool] = pools.get(pod.pool, 0) + 1
    return pools


def jobs_of(worker: Worker, running: int) -> Row:
    """What waits in the store, for all gateways, and what has ended here; `running` attempts are being made here."""
    now, models = time(), dict[str, Row]()

    def of(model: str) -> Row:
        return models.setdefault(
            model, {"model": model, "waiting": 0, "oldest": 0.0, "ended": {}, "again": {}}
        )

    for model, waiting in by_model(worker.waiting).items():
        of(model).update(waiting=waiting.jobs, oldest=round(max(0.0, now - waiting.oldest), 1))
    for (model, state), count in worker.ended.items():
        of(model)["ended"][state] = count
    for (model, reason), count in worker.put_back.items():
        of(model)["again"][reason] = count
    return {
        "store": worker.store_works,
        "running": running,
        "leases_lost": worker.leases_lost,
        "models": sorted(models.values(), key=lambda row: (-row["waiting"], row["model"])),
    }


def busiest(pod: Row, most: int) -> Row:
    """A pod with at most so many models, those that keep most slots busy, and how many `more` it has."""
    models = pod["models"]
    if len(models) <= most:
        return pod | {"more": 0}
    kept = sorted(models, key=lambda row: -row["running"] - row["others"])[:most]
    return pod | {"models": kept, "more": len(models) - most}
