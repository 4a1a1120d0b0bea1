"""Replaces a pod whose task does nothing any more.

Each pod has one task that connects, asks and watches. If an error in it, or in a library, lets it wait for something
that never comes, the pod would be out for ever, however healthy it is. A task that works counts `Pod.beats` up, about
once a second. The watchdog counts its own looks and not seconds: after a pause of the whole process no pod is stuck.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from inferencehub.gateway.pods.pod import HEARTBEAT_S, Pod

logger = logging.getLogger(__name__)

MOST_IDLE = 15  # looks in a row that may find a pod's task where the look before left it


class Watchdog:
    """See the module's text.

    Args:
        pods: the pods to look at.
        replace: called with a pod that is stuck.
    """

    def __init__(self, pods: Callable[[], Collection[Pod]], replace: Callable[[Pod], None]) -> None:
        self.pods = pods
        self.replace = replace
        self._seen: dict[Pod, tuple[int, int]] = {}  # beats, and for how many looks they are the same
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look in the background, once a heartbeat."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.look()

    def look(self) -> None:
        """Look at each pod once, and replace those that are stuck."""
        seen, self._seen = self._seen, {}
        for pod in list(self.pods()):
            beats, idle = seen.get(pod, (-1, 0))
            idle = idle + 1 if pod.beats == beats else 0
            if idle < MOST_IDLE:
                self._seen[pod] = (pod.beats, idle)
                continue
            log = {"pod": pod.address, "state": pod.state.value, "heartbeats": idle}
            logger.error("pod replaced, its task was stuck", extra=log)
            self.replace(pod)
