"""All backends, and from what they say: which models there are, which lanes, and which lane a request belongs to.

A lane's candidates are the pods that serve a model with the same signature, so that pods of several pools, and of two
releases during a rollout, stand side by side. A request goes to the lane whose signature it fits. A model that no pod
serves any more keeps its lane for a while: its requests wait there for a pod to come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.lane import Observer
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo
from inferencehub.gateway.pods.discovery import Discovery
from inferencehub.gateway.pods.pod import Backend, State
from inferencehub.gateway.pods.pod_probe import RollCall
from inferencehub.gateway.pods.replica import Place
from inferencehub.gateway.routing.model_lane import ModelLane, no_pod
from inferencehub.gateway.settings import GatewaySettings

logger = logging.getLogger(__name__)

FORGET_S = 300.0  # how long a model that no pod lists any more is still known


class Fleet:
    """See the module's text.

    Args:
        settings: the gateway's settings.
        observe: makes who counts, for a model's lane.
    """

    def __init__(self, settings: GatewaySettings, observe: Callable[[str], Observer]) -> None:
        self.settings = settings
        self.observe = observe
        self.bytes_held = ByteBudget(settings.queue_bytes)
        self.backends: dict[str, Backend] = {}
        self.routes: dict[tuple[str, str], list[ModelLane]] = {}
        self._retries: dict[str, RetryBudget] = {}
        self._changed = asyncio.Event()
        self.on_demand = settings.on_demand()
        self.held: dict[str, int] = {}  # requests that wait for a model that no lane is for
        self.discovery = Discovery(settings.backends, settings.resolve_s, self._found)
        self._roll_call = RollCall(settings.roll_call, self.discovery.met)

    async def start(self) -> None:
        """Look for backends, now and from now on."""
        await self.discovery.start()
        self._roll_call.start()

    async def stop(self) -> None:
        """Let all backends go."""
        await self._roll_call.stop()
        await self.discovery.stop()
        await asyncio.gather(*[backend.stop() for backend in self.backends.values()])

    @property
    def ready(self) -> bool:
        """Whether any backend may be given work."""
        return any(backend.up for backend in self.backends.values())

    @property
    def serves(self) -> bool:
        """Whether requests are answered: there is a backend, or the first request brings one up."""
        return self.ready or bool(self.on_demand)

    def counts(self) -> dict[State, int]:
        """How many backends there are in each state."""
        states = [backend.state for backend in self.backends.values()]
        return {state: states.count(state) for state in State}

    def models(self) -> dict[str, str]:
        """All models that are known, each with "" where it can be called, else with the reason why not."""
        known = dict.fromkeys(self.on_demand, "its pool has no pod, a request starts one")
        for backend in self.backends.values():
            for name, reason in backend.catalog.unavailable.items():
                known[name] = reason
        for (name, version), lanes in self.routes.items():
            if not version:
                known[name] = "" if any(lane.open for lane in lanes) else "no pod serves it"
        return dict(sorted(known.items()))

    def versions(self, name: str) -> list[str]:
        """The versions of a model that can be called."""
        return sorted(
            version for (model, version), lanes in self.routes.items()
            if model == name and version and any(lane.open for lane in lanes)
        )  # fmt: skip

    def is_open(self, name: str, version: str) -> bool:
        """Whether a model can be called now."""
        return any(lane.open for lane in self.routes.get((name, version), []))

    async def info(self, name: str, version: str = "", hold_s: float | None = None) -> ModelInfo:
        """A model as its pods describe it; waits a while for one that may still appear.

        Raises:
            HubError: NOT_FOUND, or NOT_READY with the reason.
        """
        lanes = await self.lanes(name, version, hold_s)
        return next((lane for lane in lanes if lane.open), lanes[0]).info

    def known(self, name: str, version: str = "") -> list[ModelLane]:
        """The lanes of a model that is known already, the best one first; none where it may still appear."""
        lanes = self.routes.get((name, version), [])
        return lanes if len(lanes) < 2 else sorted(lanes, key=lambda lane: not lane.open)

    def fit(self, lanes: list[ModelLane], request: InferRequest) -> tuple[ModelLane, InferRequest, int]:
        """That of a model's lanes whose signature a request fits, the request checked against it, and its rows.

        Raises:
            HubError: what the signature refuses.
        """
        if len(lanes) == 1:
            return (lanes[0], *lanes[0].info.signature.check(request))
        refusal: HubError | None = None
        for lane in sorted(lanes, key=lambda lane: (not lane.open, lane.load, lane.last_used)):
            try:
                return (lane, *lane.info.signature.check(request))
            except HubError as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    async def lanes(self, name: str, version: str, hold_s: float | None) -> list[ModelLane]:
        """A model's lanes; waits at most `hold_s` seconds for a model that may still appear.

        Raises:
            HubError: NOT_FOUND, or NOT_READY with the reason.
        """
        lanes = self.routes.get((name, version))
        if lanes:
            return lanes
        await asyncio.gather(*[b.look_for(name) for b in self.backends.values() if not b.catalog.listed])
        lanes = self.routes.get((name, version))
        if lanes:
            return lanes
        longest = self._longest_hold(name)
        hold = longest if hold_s is None else min(longest, hold_s)
        # Any caller can make up a name; that must not take the place of requests that wake a pool.
        expected = name in self.on_demand
        held = sum(count for other, count in self.held.items() if (other in self.on_demand) is expected)
        if held >= self.settings.queue_length:
            raise no_pod(name, 0, f"{held} requests wait already for models that are not there")
        self.held[name] = self.held.get(name, 0) + 1
        try:
            ends = monotonic() + hold
            while (left := ends - monotonic()) > 0 and self._may_come(name):
                try:
                    await asyncio.wait_for(self._changed.wait(), left)
                except TimeoutError:
                    break
                lanes = self.routes.get((name, version))
                if lanes:
                    return lanes
        finally:
            self.held[name] -= 1
            if not self.held[name]:
                del self.held[name]
        if hold_s is not None and 0 < hold_s < longest and self._may_come(name):
            raise HubError(Kind.DEADLINE, f"model '{name[:80]}' was not there before the request's deadline")
        raise self._unknown(name, version, hold)

    def _longest_hold(self, name: str) -> float:
        """Seconds for which a request waits for a model that no pod serves."""
        return self.settings.activation_s if name in self.on_demand else self.settings.hold_s

    def _may_come(self, name: str) -> bool:
        """Whether a model that no lane is for may be one that was not heard of yet."""
        if not self.ready or any(not backend.described for backend in self.backends.values()):
            return True
        if self._asleep(name) and not any(name in b.catalog.unavailable for b in self.backends.values()):
            return True
        return any(name in backend.catalog.loading for backend in self.backends.values())

    def _asleep(self, name: str) -> bool:
        """Whether a model is that of a pool without pods. A pod of it that is up has told what it has."""
        model = self.on_demand.get(name)
        if model is None or self.is_open(name, ""):
            return False
        return not any(backend.up and backend.pool == model.pool for backend in self.backends.values())

    def _unknown(self, name: str, version: str, waited_s: float) -> HubError:
        for backend in self.backends.values():
            if name in backend.catalog.unavailable:
                reason = backend.catalog.unavailable[name]
                return HubError(Kind.NOT_READY, f"model '{name}' does not serve: {reason}")
        if self._asleep(name) or (not self.ready and not self.routes):
            return no_pod(name, waited_s, "no inference service is ready")
        if version and (name, "") in self.routes:
            known = ", ".join(self.versions(name)) or "none"
            return HubError(Kind.NOT_FOUND, f"model '{name}' has no version '{version[:80]}', it has {known}")
        known = ", ".join(self.models()) or "none"
        return HubError(Kind.NOT_FOUND, f"model '{name[:80]}' is unknown, expected one of: {known}")

    def _found(self, addresses: set[str]) -> None:
        for address in addresses - self.backends.keys():
            settings = self.settings
            size = max(64 * 2**20, 2 * settings.max_body_bytes)
            self.backends[address] = Backend(address, settings.backend_slots, size, self._reroute)
        for address, backend in self.backends.items():
            backend.wanted = address in addresses
        self._reroute()

    def _reroute(self) -> None:
        """Give each lane the places that belong to it, and make the lanes that are missing."""
        self.backends = {a: backend for a, backend in self.backends.items() if not backend.ended}
        wanted: dict[tuple[str, str], list[Place]] = {}
        for backend in self.backends.values():
            defaults = backend.catalog.defaults
            for (name, version), place in backend.places.items():
                wanted.setdefault((name, version), []).append(place)
                if version and defaults[name] == version:
                    wanted.setdefault((name, ""), []).append(place)
        now = monotonic()
        for key in wanted.keys() | self.routes.keys():
            self._route(key, wanted.get(key, []), now)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _route(self, key: tuple[str, str], places: list[Place], now: float) -> None:
        lanes = self.routes.setdefault(key, [])
        by_contract: dict[ModelInfo, list[Place]] = {}
        for place in places:
            by_contract.setdefault(contract(place.info), []).append(place)
        for lane in lanes:
            lane.set_places(by_contract.pop(contract(lane.info), []))
        for fitting in by_contract.values():
            lane = self._new_lane(fitting[0].info)
            lane.set_places(fitting)
            lanes.append(lane)
        kept = [
            lane for lane in lanes
            if lane.places or not lane.lane.idle or now - (lane.absent_since or now) < FORGET_S
        ]  # fmt: skip
        # A signature that an other one has replaced is not kept waiting for.
        kept = [lane for lane in kept if lane.places or not lane.lane.idle or not any(o.places for o in kept)]
        if kept:
            self.routes[key] = kept
        else:
            del self.routes[key]

    def _new_lane(self, info: ModelInfo) -> ModelLane:
        settings = self.settings
        retries = self._retries.setdefault(info.name, RetryBudget())
        observer = self.observe(info.name)
        hold_s = self._longest_hold(info.name)
        return ModelLane(info, settings.queue_length, hold_s, self.bytes_held, retries, observer)


def contract(info: ModelInfo) -> ModelInfo:
    """What must be equal for two pods to be candidates of one lane: what the gateway reads of a model.

    That is its signature, and the parameters that say how `/predict` reads it and whether it may run again.
    """
    read = [
        item for item in info.parameters if item[0].startswith("predict_") or item[0] == "run_at_most_once"
    ]
    return replace(info, version="", platform="", slots=1, parameters=tuple(read))
