"""Loads and unloads of models on all pods: those that are up now, and those that start later.

What is wished of each model is in the store of jobs, and nowhere else. Each gateway reads it again and again, and tells each
of its pods what this pod was not told since it came up. So it does not matter which gateway got the call, and a pod or a
gateway that starts anew needs nobody to ask. Pods make each change once and in the order of the revisions, so gateways need
not agree on who tells a pod.

A change is kept once a pod has made it: what no pod can load is no wish, and the one before stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from inferencehub.core.auth.caller import LONGEST, Caller
from inferencehub.core.process.tasks import cancelled
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.pods.channel import Channel
from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.control.asked import Parameters, config_of, takes_steps
from inferencehub.gateway.routing.control.differences import Differences
from inferencehub.gateway.routing.control.pods import Outcome, ToldPods
from inferencehub.gateway.routing.control.wishes import Wish, Wishes
from inferencehub.gateway.routing.table import RoutingTable

logger = logging.getLogger(__name__)

LOOK_S = 1.0  # between two looks at the wishes, and at pods that came up


class ModelControl:
    """See the module's text.

    Args:
        table: the pods, and where calls go.
        wishes: what is wished of models.
    """

    def __init__(self, table: RoutingTable, wishes: Wishes) -> None:
        self._table = table
        self._kept = wishes
        self._pods = ToldPods(table)
        self.differences = Differences(table, self._pods)
        self._mark = 0
        self._wishes: Mapping[str, Wish] = {}
        self._changes: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Follow the wishes, and tell pods, in the background."""
        self._run(self._follow(), self._telling)

    async def stop(self, grace_s: float) -> None:
        """Wait for changes, at most `grace_s` seconds, then tell pods no more."""
        if self._changes:
            await asyncio.wait(self._changes, timeout=grace_s)
        await cancelled({*self._changes, *self._telling})

    async def load(self, caller: Caller, name: str, parameters: Parameters) -> None:
        """Load a model on all pods that have it in their repository, or load it again.

        It goes on if the caller leaves.

        Args:
            caller: who asks.
            name: the model.
            parameters: `config`, a configuration as JSON in place of that of the repository.

        Raises:
            HubError: FORBIDDEN; BAD_INPUT or UNSUPPORTED for a wrong parameter; NOT_FOUND if no pod has the model; NOT_READY if
                no pod is up, or the store can't be used; CONFLICT if a later change was made; else as the first pod that
                fails says. Then the others may have made the change.
        """
        caller.require_model(name)
        config = config_of(parameters)
        await asyncio.shield(self._run(self._change(name, True, config), self._changes))

    async def unload(self, caller: Caller, name: str, parameters: Parameters) -> None:
        """Unload all versions of a model on all pods. Calls that they have are finished.

        Args:
            caller: who asks.
            name: the model.
            parameters: `unload_dependents`: if it is an ensemble, the models of its steps too.

        Raises:
            HubError: as `load`.
        """
        names = [name, *(self._steps(name) if takes_steps(parameters) else ())]
        for each in names:
            caller.require_model(each)
        for each in names:
            await asyncio.shield(self._run(self._change(each, False, ""), self._changes))

    def _steps(self, name: str) -> Sequence[str]:
        """The models of the steps of an ensemble that pods serve; none for any other model."""
        configs = [
            config
            for pod, _ in self._pods.ready()
            for (model, _), config in pod.catalog.configs.items()
            if model == name
        ]
        return [*dict.fromkeys(s.model_name for config in configs for s in config.ensemble_scheduling.step)]

    async def _change(self, name: str, loaded: bool, config: str) -> None:
        pods = self._pods.ready()
        if not pods:
            raise self._no_pod()
        if len(name) > LONGEST:
            raise unknown(name)
        wish = Wish(name, await self._kept.revision(), loaded, config)
        try:
            outcomes: list[Outcome] = await asyncio.gather(
                *[self._run(self._change_at(*pod, wish), self._telling) for pod in pods]
            )
        except HubError:  # the store can't be used
            self._pods.forget(wish)
            raise
        made = [one for one in outcomes if one.kind is None]
        withdrawn = not made and await self._withdrawn(wish, outcomes)
        if not made and not withdrawn:
            self._pods.forget(wish)
        logger.info("model changed", extra={"model": name, "loaded": loaded, "pods": len(made)})
        if withdrawn:
            return
        if not made and self._table.asleep(name):
            detail = f"no pod of the pool of model '{name}' is up: a call of the model wakes it"
            raise HubError(Kind.NOT_READY, detail, retry_after=5)
        check(wish, outcomes)

    async def _change_at(self, pod: Pod, channel: Channel, wish: Wish) -> Outcome:
        """Tell a pod of a wish, and keep it once the pod has made the change: others may take long, or never answer.

        The outcome comes when the gateway knows which versions the pod serves now.
        """
        outcome = await self._pods.tell(pod, channel, wish)
        if outcome.kind is None:
            await self._kept.keep(wish)
            await self._pods.look(pod, channel, wish)
        return outcome

    async def _withdrawn(self, wish: Wish, outcomes: Sequence[Outcome]) -> bool:
        """Whether an unload takes back the wish for a model that no pod has any more; it is kept then."""
        before = self._wishes.get(wish.model)
        gone = all(one.kind is Kind.NOT_FOUND for one in outcomes) and not self._table.asleep(wish.model)
        if wish.loaded or before is None or not before.loaded or not gone:
            return False
        try:
            await self._kept.keep(wish)
        except HubError:
            self._pods.forget(wish)
            raise
        return True

    def _no_pod(self) -> HubError:
        if any(pod.up for pod in self._table.fleet.pods.values()):
            return HubError(
                Kind.UNSUPPORTED,
                "no pod takes loads and unloads, expected pods whose HUB_MODEL_CONTROL is explicit",
            )
        return HubError(Kind.NOT_READY, "no pod is up that could load or unload models", retry_after=5)

    async def _follow(self) -> None:
        failing = ""
        while True:
            known = None  # while the store can't be read, what was known goes on to hold
            try:
                known = await self._kept.read(self._mark)
                failing = ""
            except HubError:  # the store has written why
                pass
            except Exception as error:  # such as a wish that a gateway of another release has kept
                if repr(error) != failing:
                    logger.exception("wishes of models can't be read")
                failing = repr(error)
            if known is not None:
                self._mark, self._wishes = known
            for pod, channel in self._pods.ready():
                for wish in self._pods.lacking(pod, channel, self._wishes.values()):
                    self._run(self._pods.tell(pod, channel, wish), self._telling)
            self.differences.look(self._wishes)
            await asyncio.sleep(LOOK_S)

    def _run(self, work: Coroutine[Any, Any, Any], among: set[asyncio.Task[Any]]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task


def unknown(name: str) -> HubError:
    """The error for a model that no pod has."""
    return HubError(Kind.NOT_FOUND, f"model '{name[:80]}' is in the repository of no pod")


def check(wish: Wish, outcomes: Sequence[Outcome]) -> None:
    """Raise how a change ended, if not all pods made it that have the model.

    Raises:
        HubError: see `ModelControl.load`.
    """
    made = [one.address for one in outcomes if one.kind is None]
    failed = [one for one in outcomes if one.kind not in (None, Kind.NOT_FOUND)]
    if not made and not failed:
        raise unknown(wish.model)
    if failed:
        first = failed[0]
        assert first.kind is not None
        so_far = f"{', '.join(made)} made the change" if made else "no pod made the change"
        raise HubError(first.kind, f"{first.why} (at pod {first.address}; {so_far})")
