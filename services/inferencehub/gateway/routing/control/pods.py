"""Tells pods of wishes: each connection of each change once, and again where it failed."""

from __future__ import annotations

import asyncio
import logging
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

AGAIN_S = 30.0  # until a pod is told again of a change that failed
NOTICED_S = 2.0  # within this time a pod says that a model serves that it has loaded
FINAL = (Kind.NOT_FOUND, Kind.CONFLICT)  # it has no such model, or a later change was made


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
    """The last change that a pod was told of a model, and when it is told again, in seconds of `monotonic`."""

    revision: int
    again: float


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

    def lacks(self, channel: Channel, wish: Wish) -> bool:
        """Whether a pod is to be told of a wish now."""
        told = self._told.get(channel, {}).get(wish.model)
        if told is None or told.revision < wish.revision:
            return True
        return told.revision == wish.revision and told.again < monotonic()

    async def tell(self, pod: Pod, channel: Channel, wish: Wish) -> Outcome:
        """Tell a pod of a wish."""
        of_pod = self._told.setdefault(channel, {})
        told = of_pod[wish.model] = Told(wish.revision, inf)
        outcome = Outcome(pod.address)
        try:
            await channel.change(request_of(wish))
        except Failed as error:
            outcome = Outcome(pod.address, error.kind or Kind.MODEL_FAILED, error.detail)
        except Lost as error:
            outcome = Outcome(pod.address, Kind.NOT_READY, f"the pod was lost: {error}")
        if outcome.kind is not None and outcome.kind not in FINAL:
            where = {"pod": pod.address, "model": wish.model, "loaded": wish.loaded, "reason": outcome.why}
            logger.warning("pod is not as wished", extra=where)
            if of_pod.get(wish.model) is told:
                of_pod[wish.model] = Told(wish.revision, monotonic() + AGAIN_S)
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
