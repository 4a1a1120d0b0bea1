"""Requests for models that have no lane: they wait a while for a pod that may still come, then get the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from inferencehub.core.oip.unnamed_model import must_name
from inferencehub.core.values.errors import HubError, Kind, listed
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.model_lane import ModelLane, does_not_serve, named, no_pod
from inferencehub.gateway.routing.table import ASLEEP, RoutingTable
from inferencehub.gateway.routing.traffic.traffic import Call

T = TypeVar("T")
Sees = Callable[[str], bool]


def everything(name: str) -> bool:
    """What somebody sees who sees all models."""
    return True


class UnknownModels:
    """See the module's text.

    Args:
        fleet: the pods.
        table: the lanes of known models.
    """

    def __init__(self, fleet: Fleet, table: RoutingTable) -> None:
        self.fleet = fleet
        self.table = table
        table.ensembles.wait = self.lanes
        self.held: dict[str, int] = {}  # number of waiting requests by model

    async def lanes(
        self,
        name: str,
        version: str,
        within_s: float | None,
        sees: Sees = everything,
        call: Call | None = None,
    ) -> list[ModelLane]:
        """Wait until a model has lanes, and return them.

        Args:
            name, version: the model.
            within_s: seconds that the caller would wait; None for as long as the settings allow.
            sees: returns whether a model is there for the caller; sentences name only those that are.
            call: the call that needs a lane; None if none does. See `RoutingTable.known`.

        Raises:
            HubError: NOT_FOUND if no pod has the model, NOT_READY if no pod serves it, DEADLINE if `within_s` is over.
        """
        await self.fleet.look_for(name)
        return await self._found(name, version, within_s, lambda: self.table.known(name, version, call), sees)

    async def unnamed(self, kind: str, within_s: float | None, sees: Sees = everything) -> str:
        """Wait until it is known which model a request without a name gets, and return its name.

        Args:
            kind: FEATURES or TEXT.
            within_s, sees: as in `lanes`.

        Raises:
            HubError: BAD_INPUT if the request must name a model, otherwise as `lanes`.
        """
        return await self._found("", "", within_s, lambda: self.table.unnamed[kind], sees)

    async def _found(
        self, name: str, version: str, within_s: float | None, find: Callable[[], T], sees: Sees
    ) -> T:
        """Wait until `find` returns anything, and return that; the model `name` is what the request waits for."""
        self.table.catch_up()
        if found := find():
            return found
        longest = self.fleet.hold_s(name)
        hold_s = longest if within_s is None else min(longest, within_s)
        self._refuse_too_many(name)
        self.held[name] = self.held.get(name, 0) + 1
        try:
            ends = monotonic() + hold_s
            while (left := ends - monotonic()) > 0 and self._may_come(name):
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self.table.changed.wait()
                self.table.catch_up()
                if found := find():
                    return found
        finally:
            self.held[name] -= 1
            if not self.held[name]:
                del self.held[name]
        if within_s is not None and 0 < within_s < longest and self._may_come(name):
            raise HubError(Kind.DEADLINE, f"{named(name)} was not there before the request's deadline")
        raise self._why_not(name, version, hold_s, sees)

    def _refuse_too_many(self, name: str) -> None:
        """Limit the number of requests that wait.

        Any caller can invent a name. Requests with invented names must not crowd out requests that start a pool.
        """
        on_demand = self.fleet.on_demand
        expected = name in on_demand
        held = sum(count for other, count in self.held.items() if (other in on_demand) is expected)
        if held >= self.fleet.settings.queue_length:
            raise no_pod(name, 0, f"{held} requests wait already for models that are not there")

    def _may_come(self, name: str) -> bool:
        """Whether a pod may still report the model."""
        pods = self.fleet.pods.values()
        if not self.fleet.ready or any(not pod.described for pod in pods):
            return True
        if self.table.asleep(name) and not any(name in pod.catalog.unavailable for pod in pods):
            return True
        return any(name in pod.catalog.loading if name else pod.catalog.loading for pod in pods)

    def _why_not(self, name: str, version: str, waited_s: float, sees: Sees) -> HubError:
        if reason := self.fleet.unavailable().get(name):
            return does_not_serve(name, reason)
        if self.table.asleep(name) and not waited_s:
            return no_pod(name, 0, ASLEEP)
        if self.table.asleep(name) or (not self.fleet.ready and not self.table.routes):
            return no_pod(name, waited_s, "no inference service is ready")
        if not name:
            return must_name(filter(sees, self.table.models()))
        if (name, "") in self.table.routes:
            known = listed(self.table.versions(name))
            if not version:
                reason = f"no pod serves a version to which the file of traffic gives calls, only {known}"
                return no_pod(name, 0, reason)
            return HubError(Kind.NOT_FOUND, f"model '{name}' has no version '{version[:80]}', it has {known}")
        known = listed(filter(sees, self.table.models()))
        return HubError(Kind.NOT_FOUND, f"model '{name[:80]}' is unknown, expected one of: {known}")
