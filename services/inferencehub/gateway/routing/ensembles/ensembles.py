"""The ensembles of all pods: which of them can run, and where their steps go."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Protocol

from inferencehub.core.oip.ensembles.steps import Step
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.gateway.pods.replica import Replica
from inferencehub.gateway.routing.ensembles.replica import EnsembleReplica, is_ensemble
from inferencehub.gateway.routing.fit import best_first, fit
from inferencehub.gateway.routing.model_lane import ModelLane

logger = logging.getLogger(__name__)


class Models(Protocol):
    """What they need of the routing table."""

    def known(self, name: str, version: str = "") -> list[ModelLane]:
        """The lanes of a model."""

    def asleep(self, name: str) -> bool:
        """Whether the model's pool has no pods."""

    def why_closed(self, name: str, version: str = "") -> str:
        """Why a model cannot be called; "" if it can."""


class Ensembles:
    """See the module's text.

    Args:
        models: the routing table.

    `wait` waits for the lanes of a model that no pod has reported (`UnknownModels.lanes`, which sets it).
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: dict[Replica, EnsembleReplica] = {}  # by what the pods describe
        self._seen: dict[Replica, EnsembleReplica] = {}  # of those, what the running update has seen
        self.wait: Callable[[str, str, float | None], Awaitable[list[ModelLane]]]

    def runs(self, described: Replica) -> Replica:
        """What runs the calls of a model: the pod's replica itself, or the steps if it is an ensemble."""
        if not is_ensemble(described):
            return described
        found = self._known.get(described)
        if found is None or found.config != described.config:
            assert described.config is not None
            found = EnsembleReplica(described, described.config, self._find, self._room_of)
        self._seen[described] = found
        return found

    def runner_of(self, described: Replica) -> Replica:
        """As `runs`, as the last update has it."""
        return self._known.get(described, described)

    def check(self) -> set[str]:
        """Look which ensembles can run now; the names of those that could not before, or cannot any more.

        Ends an update: those that no call of `runs` has named since the last one are forgotten.
        """
        self._known, self._seen = self._seen, {}
        before = {one: one.problem for one in self._known.values()}
        for one in before:
            one.uncheck()
        # An ensemble may be the step of another: each look may let more of them run.
        while any(one.check(self._signatures_of) for one in before):
            pass
        said = {(one.info.name, problem) for one, problem in before.items()}
        now = {(one.info.name, one.problem) for one in before if one.problem and self._all_serve(one.steps)}
        for name, problem in sorted(now - said):
            logger.warning("the steps of an ensemble do not fit", extra={"model": name, "reason": problem})
        return {one.info.name for one, problem in before.items() if bool(problem) is not bool(one.problem)}

    def problems(self) -> dict[str, str]:
        """Why ensembles cannot run, by their names."""
        there = self._known.values()
        can = {one.info.name for one in there if not one.problem}
        return {one.info.name: one.problem for one in there if one.problem and one.info.name not in can}

    def _signatures_of(self, step: Step) -> Sequence[Signature] | str | None:
        lanes, asleep = self._models.known(step.model, step.version), self._models.asleep(step.model)
        if not lanes:
            return None if asleep else "no pod has the model"
        can = [lane for lane in best_first(lanes) if lane.open or asleep]
        if not can:
            return self._models.why_closed(step.model, step.version)
        return [lane.info.signature for lane in can]

    def _all_serve(self, steps: Sequence[Step]) -> bool:
        return all(isinstance(self._signatures_of(step), list) for step in steps)

    def _room_of(self, step: Step) -> int:
        return sum([lane.room_for_jobs for lane in self._models.known(step.model, step.version)])

    async def _find(self, request: InferRequest, deadline: float) -> tuple[ModelLane, InferRequest, int]:
        lanes = self._models.known(request.model, request.version)
        if not lanes:
            lanes = await self.wait(request.model, request.version, deadline - monotonic())
        return fit(lanes, request)
