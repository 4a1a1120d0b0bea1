"""The routing table: which lane a request belongs to.

The pods that serve a model with the same contract share one lane. So a lane may have pods of several pools, and pods of
two releases during a rollout. A request goes to the lane whose signature it fits. A model that no pod serves any more
keeps its lane for a while: its requests wait there for a pod to come back.

A pod with many models reports many changes at once. All changes of one pass of the event loop cost one update, at the
pass's end, and only the models whose replicas have changed get their lanes anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.oip.unnamed_model import DEFAULT_FOR, KINDS, unnamed_model
from inferencehub.core.values.signature import ModelInfo
from inferencehub.gateway.pods.replica import Replica
from inferencehub.gateway.routing.ensembles.ensembles import Ensembles
from inferencehub.gateway.routing.fit import contract
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.model_lane import NO_POD, LaneObserver, ModelLane
from inferencehub.gateway.routing.traffic.traffic import Call, Traffic

ASLEEP = "its pool sleeps and has no pod, a request for the model wakes it"
FORGET_S = 300.0  # how long the table remembers a model that no pod lists any more


class RoutingTable:
    """The lanes of each model and version; at most one pass of the event loop behind what the pods of a fleet report.

    Args:
        fleet: the pods.
        bytes_held: the process's budget of bytes.
        observe: makes the observer of a model's lanes, from the model's name.

    `traffic` says which version a call gets that names none or an alias; None where no file does. `not_as_wished` has a
    sentence for each model that pods do not have as loads and unloads have left it (`control/differences.py`).
    """

    def __init__(self, fleet: Fleet, bytes_held: ByteBudget, observe: Callable[[str], LaneObserver]) -> None:
        self.fleet = fleet
        self.bytes_held = bytes_held
        self.observe = observe
        self.routes: dict[tuple[str, str], list[ModelLane]] = {}
        self.unnamed = dict.fromkeys(KINDS, "")  # the model of a /predict that names none, "" if it must
        self.changed = asyncio.Event()  # set and replaced at each change
        self.traffic: Traffic | None = None
        self.not_as_wished: Mapping[str, str] = {}
        self._retries: dict[str, RetryBudget] = {}
        self._replicas: dict[tuple[str, str], list[Replica]] = {}  # at the last update
        self.ensembles = Ensembles(self)
        self._behind = False  # whether the fleet has changed since
        fleet.changed = self._update_soon

    def models(self) -> dict[str, str]:
        """All known models by name: "" for a model that can be called, else the reason why it cannot."""
        reported = self._reported()
        routed = [name for name, version in self.routes if not version]
        names = sorted({*self.fleet.on_demand, *reported, *routed})
        return {name: self._why_closed(name, "", reported) for name in names}

    def all_listed(self) -> dict[str, str] | None:
        """The same; None while a pod has not listed its models, or there are no pods, so that others may still come."""
        pods = self.fleet.pods.values()
        return self.models() if pods and all(pod.catalog.listed and pod.described for pod in pods) else None

    def why_closed(self, name: str, version: str = "") -> str:
        """The newest reason why a model cannot be called; "" if it can."""
        return self._why_closed(name, self.version(name, version), self._reported())

    def _reported(self) -> dict[str, str]:
        """The reasons why models are not served, by their names."""
        return self.ensembles.problems() | self.fleet.unavailable()

    def _why_closed(self, name: str, version: str, reported: dict[str, str]) -> str:
        if self.is_open(name, version):
            return ""
        return reported.get(name) or (ASLEEP if self.asleep(name) else NO_POD)

    def asleep(self, name: str) -> bool:
        """Whether the model's pool has no pods. (A pod that is up has already reported its models.)"""
        model = self.fleet.on_demand.get(name)
        if model is None or self.is_open(name, ""):
            return False
        return not any(pod.up and pod.pool == model.pool for pod in self.fleet.pods.values())

    def no_predict(self, name: str) -> str:
        """Why /predict cannot serve a model; "" if it can, or if no pod has described the model."""
        reasons = [lane.info.no_predict for lane in self.known(name)]
        return "" if "" in reasons or not reasons else reasons[0]

    def versions(self, name: str) -> list[str]:
        """The versions of a model that can be called."""
        return sorted(
            version for (model, version), lanes in self.routes.items()
            if model == name and version and any(lane.open for lane in lanes)
        )  # fmt: skip

    def is_open(self, name: str, version: str) -> bool:
        """Whether a model can be called now."""
        return any(lane.open for lane in self.routes.get((name, version), []))

    def version(self, name: str, version: str) -> str:
        """The version that a name stands for, which may be an alias in the file of traffic."""
        return version if self.traffic is None else self.traffic.version(name, version)

    def known(self, name: str, version: str = "", call: Call | None = None) -> list[ModelLane]:
        """The lanes of a model, open ones first; empty if no pod has reported the model.

        Args:
            name: the model.
            version: a version or an alias; "" for the one that `traffic` chooses for a call, else the default one.
            call: the call that needs a lane, whose `chosen` is set; None if none does.
        """
        if self.traffic is not None:
            version = self.traffic.version(name, version, call)
        lanes = self.routes.get((name, version), [])
        return lanes if len(lanes) < 2 else sorted(lanes, key=lambda lane: not lane.open)

    def _update_soon(self) -> None:
        if not self._behind:
            self._behind = True
            asyncio.get_running_loop().call_soon(self.catch_up)

    def catch_up(self) -> None:
        """Take in at once what has changed; nothing happens if nothing has."""
        if self._behind:
            self.update()

    def update(self) -> None:
        """Give each lane its replicas, and make the lanes that are missing."""
        self._behind = False
        wanted: dict[tuple[str, str], list[Replica]] = {}
        for pod in self.fleet.pods.values():
            defaults = pod.catalog.defaults
            for (name, version), described in pod.replicas.items():
                replica = self.ensembles.runs(described)
                wanted.setdefault((name, version), []).append(replica)
                if version and defaults[name] == version:
                    wanted.setdefault((name, ""), []).append(replica)
        now = monotonic()
        for key in wanted.keys() | self.routes.keys():
            replicas, lanes = wanted.get(key, []), self.routes.get(key, [])
            if replicas == self._replicas.get(key) and all(lane.replicas for lane in lanes):
                for lane in lanes:
                    lane.look()
            else:
                self._route(key, replicas, now)
        self._replicas = wanted
        changed_ones = self.ensembles.check()
        for (name, _), lanes in self.routes.items():
            if name in changed_ones:
                for lane in lanes:
                    lane.look()
        reported, hopeless = self._reported(), self.fleet.hopeless()
        for (name, _), lanes in self.routes.items():
            for lane in lanes:
                lane.set_reason(reported.get(name, ""), name in hopeless)
        self._withdraw()
        by_default = self._default_for()
        self.unnamed = {kind: unnamed_model(kind, by_default) for kind in KINDS}
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        if self.traffic is not None:
            self.traffic.note_unknown()

    def _withdraw(self) -> None:
        """Let nothing wait for versions that pods took back, and forget those of which nothing runs any more."""
        for key, lanes in [*self.routes.items()]:
            if any(lane.replicas for lane in lanes) or not self.fleet.withdrawn(
                key, set().union(*[lane.homes for lane in lanes])
            ):
                continue
            for lane in lanes:
                lane.withdraw(key[1])
            self.routes[key] = [lane for lane in lanes if not lane.lane.idle]
            if not self.routes[key]:
                del self.routes[key]

    def _default_for(self) -> dict[str, str]:
        """The models that pods list or are woken for, each with its parameter `default_for`.

        While there are none, those that the table remembers: a pod that restarts changes no answer.
        """
        lanes = {name: lanes[-1] for (name, version), lanes in self.routes.items() if not version}
        present = {name for name, lane in lanes.items() if lane.replicas}
        present |= self.fleet.on_demand.keys() | self.fleet.unavailable().keys()
        return {
            name: lanes[name].info.parameter(DEFAULT_FOR) if name in lanes else ""
            for name in present or lanes
        }

    def _route(self, key: tuple[str, str], replicas: list[Replica], now: float) -> None:
        lanes = self.routes.setdefault(key, [])
        by_contract: dict[ModelInfo, list[Replica]] = {}
        for replica in replicas:
            by_contract.setdefault(contract(replica.info), []).append(replica)
        for lane in lanes:
            lane.set_replicas(by_contract.pop(contract(lane.info), []))
        for fitting in by_contract.values():
            lane = self._new_lane(fitting[0])
            lane.set_replicas(fitting)
            lanes.append(lane)
        kept = [
            lane for lane in lanes
            if lane.replicas or not lane.lane.idle or now - (lane.absent_since or now) < FORGET_S
        ]  # fmt: skip
        # A lane whose signature was replaced by another one does not wait for a pod.
        kept = [
            lane for lane in kept if lane.replicas or not lane.lane.idle or not any(o.replicas for o in kept)
        ]
        if kept:
            self.routes[key] = kept
        else:
            del self.routes[key]

    def _new_lane(self, replica: Replica) -> ModelLane:
        info = replica.info
        retries = self._retries.setdefault(info.name, RetryBudget())
        settings, observer = self.fleet.settings, self.observe(info.name)
        length, hold_s = settings.queue_length, self.fleet.hold_s(info.name)
        rows, floor = replica.mergeable_rows, settings.jobs_floor
        return ModelLane(info, rows, length, hold_s, self.bytes_held, retries, observer, floor)
