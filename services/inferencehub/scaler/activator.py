"""Pools that go to zero pods and come back: one step at a time between 0 and 1, all else is the autoscaler's.

An autoscaler rests while its target has 0 replicas, and does not take the last one away. So the two never meet: from 0
to 1 as soon as any gateway holds a request for the pool, from 1 to 0 after a quiet time, and above 1 nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic

from inferencehub.scaler.demand.total import Reading
from inferencehub.scaler.kube import Kube, KubeError
from inferencehub.scaler.settings import Target

logger = logging.getLogger(__name__)


class Quiet:
    """How long a pool that has pods has been without demand, and what follows from that. Pure."""

    def __init__(self, quiet_s: float) -> None:
        self.quiet_s = quiet_s
        self._since: float | None = None

    def wanted(self, replicas: int, demand: float | None, at: float) -> int | None:
        """The replicas that are wanted instead of `replicas`; None for no change.

        Args:
            replicas: what the Deployment is told to have.
            demand: pods' worth of work in the last second; None where it is not known for sure.
            at: now, in seconds.
        """
        if demand is None or demand > 0 or replicas == 0:
            self._since = None
        elif self._since is None:
            self._since = at
        if replicas == 0:
            return 1 if demand else None
        quiet = self._since is not None and at - self._since >= self.quiet_s
        return 0 if replicas == 1 and quiet else None


class Activator:
    """One pool.

    Args:
        kube: where its Deployment is.
        namespace: of the Deployment.
        pool: the pool's name.
        target: its Deployment, and its quiet time.
        moved: called with the new number of replicas after each step.
    """

    def __init__(
        self, kube: Kube, namespace: str, pool: str, target: Target, moved: Callable[[str, int], None]
    ) -> None:
        self.kube = kube
        self.pool = pool
        self.path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{target.deployment}/scale"
        self.moved = moved
        self.quiet = Quiet(target.quiet_s)
        self._silent = False

    async def look(self, reading: Reading | None, told: Mapping[str, float]) -> None:
        """Take a step if one is due.

        Args:
            reading: the demand, where it is known.
            told: what gateways said just now, by pool. One request that is held is enough to wake it, whatever is not
                known of other gateways.
        """
        demand = told.get(self.pool) or None
        if demand is None and reading is not None:
            demand = reading.now.get(self.pool)
            if not reading.complete and not demand:
                demand = None  # the gateway that is silent may hold a request
        try:
            scale = await self.kube.call("GET", self.path)
            replicas = int(scale["spec"].get("replicas", 0))
            wanted = self.quiet.wanted(replicas, demand, monotonic())
            if wanted is not None:
                version = scale["metadata"]["resourceVersion"]
                change = {"metadata": {"resourceVersion": version}, "spec": {"replicas": wanted}}
                await self.kube.call("PATCH", self.path, change)
                logger.info("pool scaled", extra={"pool": self.pool, "was": replicas, "is": wanted})
                self.moved(self.pool, wanted)
            self._silent = False
        except KubeError as error:
            if error.status != 409 and not self._silent:  # 409: somebody else was faster
                logger.warning("pool not scaled", extra={"pool": self.pool, "error": str(error)})
                self._silent = True
