"""What the page shows of one second: built once for all who look, and less of it for those who may not see all."""

from __future__ import annotations

from secrets import token_hex
from socket import gethostname
from time import time
from typing import Any, NamedTuple, Protocol

from inferencehub import __version__
from inferencehub.core.auth.caller import Action, Caller
from inferencehub.gateway.calls.limits.peers import Peers
from inferencehub.gateway.console import sections
from inferencehub.gateway.console.calls import EndedCalls
from inferencehub.gateway.console.sections import MOST_MODELS, MOST_SLOTS, Row, busiest
from inferencehub.gateway.console.traffic import SCALES, Traffic
from inferencehub.gateway.jobs.running.worker import Worker
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routing.demand import Demand
from inferencehub.gateway.routing.table import RoutingTable

Snapshot = dict[str, Any]
CUT = ("lanes", "models", "splits", "demand")  # lists of models of which a page has no room for all


class Process(Protocol):
    """The gateway's process: where it listens, and why it accepts no requests, "" while it does."""

    @property
    def port(self) -> int:
        """The port for callers, once it listens."""

    def not_ready(self) -> str:
        """The reason."""


class Sources(NamedTuple):
    """What the page is about.

    Args:
        process, table, demand, metrics, peers: those of the gateway.
        worker: runs jobs; None where there are none.
        slow_s: seconds from which on a call is slow.
    """

    process: Process
    table: RoutingTable
    demand: Demand
    metrics: Metrics
    peers: Peers
    worker: Worker | None
    slow_s: float


class Snapshots:
    """Builds them.

    Args:
        sources: what they are about.
        calls: the last calls that were not as they should be.
    """

    def __init__(self, sources: Sources, calls: EndedCalls) -> None:
        self._sources = sources
        self._calls = calls
        self._traffic = Traffic(sources.metrics)
        self._began = time()
        self._host = gethostname()
        self._process = token_hex(
            4
        )  # tells apart two processes of one name, such as before and after a restart

    def hello(self, whole: bool) -> Snapshot:
        """What holds for all snapshots; `whole` if they have the last calls, and there are models to try."""
        slow_s = self._sources.slow_s
        return {
            "gateway": self._gateway(),
            "whole": whole,
            "scales": SCALES,
            "slow_s": slow_s if slow_s < float("inf") else None,
        }

    def forget(self) -> None:
        """Nobody looks any more."""
        self._traffic.forget()

    def build(self) -> Snapshot:
        """All that may be seen, the last calls too."""
        process, table, demand, metrics, peers, worker, _ = self._sources
        fleet, held = table.fleet, table.bytes_held
        models = table.models()
        return {
            "gateway": self._gateway(),
            "now": round(time(), 3),
            "up": round(time() - self._began),
            "not_ready": process.not_ready(),
            "peers": peers.count,
            "in_flight": {
                front.front: front.in_flight for front in (metrics.http, metrics.grpc, metrics.jobs)
            },
            "held": {"bytes": held.held, "limit": held.limit},
            "counts": {"pods": len(fleet.pods), "models": len(models)},
            "pods": sections.pods_of(fleet),
            "pools": sections.pools_of(fleet),
            "lanes": sections.lanes_of(table),
            "models": sections.models_of(table, models),
            "splits": sections.splits_of(table),
            "demand": sections.demand_of(demand),
            "traffic": self._traffic.second(),
            "jobs": None if worker is None else sections.jobs_of(worker, metrics.jobs.in_flight),
            "calls": self._calls.newest(),
        }

    def _gateway(self) -> dict[str, str]:
        name = f"{self._host}:{self._sources.process.port}"
        return {"name": name, "process": self._process, "version": __version__}


def seen_by(caller: Caller, snapshot: Snapshot) -> Snapshot:
    """What of a snapshot a caller may see: their models, and the calls of their tenant, or of all for those who control."""
    sees = caller.sees

    def kept(rows: list[Row]) -> list[Row]:
        return [row for row in rows if sees(row["model"])]

    shown = snapshot | {name: kept(snapshot[name]) for name in (*CUT, "traffic")}
    shown["pods"] = [pod | {"models": kept(pod["models"])} for pod in snapshot["pods"]]
    shown["counts"] = snapshot["counts"] | {"models": len(shown["models"])}
    if snapshot["jobs"] is not None:
        shown["jobs"] = snapshot["jobs"] | {"models": kept(snapshot["jobs"]["models"])}
    controls = Action.CONTROL in caller.actions
    mine = "" if caller.flow is None else caller.flow.name
    shown["calls"] = [
        call
        for call in snapshot["calls"]
        if (controls or call["owner"] == mine) and (not call["model"] or sees(call["model"]))
    ]
    return cut(shown)


def without_calls(snapshot: Snapshot) -> Snapshot:
    """A snapshot for the ops port."""
    return cut({name: value for name, value in snapshot.items() if name != "calls"})


def cut(snapshot: Snapshot) -> Snapshot:
    """What a page has room for."""
    shown = snapshot | {name: snapshot[name][:MOST_MODELS] for name in CUT}
    each = MOST_SLOTS // max(1, len(snapshot["pods"]))
    shown["pods"] = [busiest(pod, each) for pod in snapshot["pods"]]
    if snapshot["jobs"] is not None:
        shown["jobs"] = snapshot["jobs"] | {"models": snapshot["jobs"]["models"][:MOST_MODELS]}
    return shown
