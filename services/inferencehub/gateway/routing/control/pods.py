"""Tells pods of wishes: each connection of each change once, and again where it failed, after pauses that grow.

A pod that does not have the model is told again once it lists it. It may be of another pool, and then each try would be a
line of its audit log, for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import inf
from time import monotonic
from typing import NamedTuple
from weakref import WeakKeyDictionary

import grpc

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.pods.channel import Channel
from inferencehub.gateway.pods.link import Failed, Lost
from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.control.asked import request_of
from inferencehub.gateway.routing.control.wishes import Wish
from inferencehub.gateway.routing.table import RoutingTable

logger = logging.getLogger(__name__)

AGAIN_S = (1.0, 60.0)  # first and longest pause before a pod is told again of a change that it refused
LOAD_AGAIN_S = 10.0  # the first pause if the model was not loaded: the next try costs as much
NOTICED_S = 2.0  # within this time a pod says that a model serves that it has loaded
# The pod is of another pool, or another gateway told it of a later change.
MAY_BE = (Kind.NOT_FOUND, Kind.CONFLICT)
LOADED_NOTHING = (*MAY_BE, Kind.NOT_READY)


class Outcome(NamedTuple):
    """How a change ended at a pod.

    Args:
        address: of the pod.
        kind: of the error; None if the change was made.
        why: the pod's sentence.
    """

    address: str
    kind: Kind | None = None
    why: str = ""


class Told(NamedTuple):
    """The last change that a pod was told of a model.

    Args:
        revision: of the change.
        again: when the pod is told again, in seconds of `monotonic`; infinite while it is told, and if it made the change, or
            a later one.
        pause: the last pause before a try, in seconds; 0 if none has failed.
        failed: how the last try ended, if it failed.
        made: whether the pod made the change.
    """

    revision: int
    again: float = inf
    pause: float = 0.0
    failed: Outcome | None = None
    made: bool = False


class ToldPods:
    """See the module's text.

    Args:
        table: the pods, and where calls go.
    """

    def __init__(self, table: RoutingTable) -> None:
        self._table = table
        # A pod that starts anew has a new channel: it is told of everything. One that was there before does nothing twice.
        self._told: WeakKeyDictionary[Channel, dict[str, Told]] = WeakKeyDictionary()

    def ready(self) -> list[tuple[Pod, Channel]]:
        """The pods that can be told now."""
        pods = self._table.fleet.pods.values()
        return [
            (pod, pod.channel) for pod in pods if pod.up and pod.takes_changes and pod.channel is not None
        ]

    def of(self, channel: Channel) -> Mapping[str, Told]:
        """What a pod was told of each model."""
        return self._told.get(channel, {})

    def lacking(self, pod: Pod, channel: Channel, wishes: Iterable[Wish]) -> list[Wish]:
        """The wishes of which a pod is to be told now."""
        told, now = self.of(channel), monotonic()
        lacking = []
        for wish in wishes:
            last = told.get(wish.model)
            if last is None or last.revision < wish.revision:
                lacking.append(wish)
            elif last.revision == wish.revision and last.again <= now:
                absent = last.failed is not None and last.failed.kind is Kind.NOT_FOUND
                if not absent or (wish.model, "") in pod.catalog.listed_keys:
                    lacking.append(wish)
        return lacking

    async def tell(self, pod: Pod, channel: Channel, wish: Wish) -> Outcome:
        """Tell a pod of a wish."""
        of_pod = self._told.setdefault(channel, {})
        told = of_pod.get(wish.model)
        if told is None or told.revision < wish.revision:
            told = Told(wish.revision)
        told = told._replace(again=inf)
        if told.revision == wish.revision:  # a later change may be on its way already
            of_pod[wish.model] = told
        outcome = Outcome(pod.address)
        try:
            await channel.change(request_of(wish))
        except Failed as error:
            outcome = Outcome(pod.address, error.kind or Kind.MODEL_FAILED, error.detail)
        except Lost as error:
            outcome = Outcome(pod.address, Kind.NOT_READY, f"the pod was lost: {error}")
        if of_pod.get(wish.model) is told:
            of_pod[wish.model] = after(told, wish, outcome)
        return outcome

    def forget(self, wish: Wish) -> None:
        """Take back that pods were told of a change which is not kept: what was wished before still holds for them."""
        for of_pod in self._told.values():
            told = of_pod.get(wish.model)
            if told is not None and told.revision == wish.revision:
                del of_pod[wish.model]

    async def look(self, pod: Pod, channel: Channel, wish: Wish) -> None:
        """Wait until the gateway knows which versions a pod serves that has made a change, or for a moment."""
        with suppress(
            Lost, grpc.aio.AioRpcError, TimeoutError
        ):  # what is not seen now is seen a moment later
            await pod.read(channel)
            async with asyncio.timeout(NOTICED_S):
                while wish.loaded and not pod.serves(wish.model):
                    await self._table.changed.wait()


def after(told: Told, wish: Wish, outcome: Outcome) -> Told:
    """What a pod was told, once a try has ended. A model that the pod does not have is as good as unloaded."""
    if outcome.kind is None or (outcome.kind is Kind.NOT_FOUND and not wish.loaded):
        return Told(told.revision, made=True)
    first = AGAIN_S[0] if outcome.kind in LOADED_NOTHING else LOAD_AGAIN_S
    pause = min(max(first, 2 * told.pause), AGAIN_S[1])
    if told.failed is None or told.failed.why != outcome.why:
        level = logging.INFO if outcome.kind in MAY_BE else logging.WARNING
        where = {"pod": outcome.address, "model": wish.model, "loaded": wish.loaded, "reason": outcome.why}
        logger.log(level, "pod is not as wished", extra=where)
    # The revisions of a pod only grow: it would refuse each further try, and write each into its audit log.
    again = inf if outcome.kind is Kind.CONFLICT else monotonic() + pause
    return told._replace(again=again, pause=pause, failed=outcome)
