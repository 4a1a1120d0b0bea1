"""Scales a pool from 0 pods to 1 and from 1 to 0. All other steps belong to the autoscaler.

An autoscaler does nothing while its target has 0 replicas, and it never removes the last replica. So the two never
conflict: the activator scales from 0 to 1 as soon as any gateway holds a request for the pool, and from 1 to 0 after a
time without demand. Above 1 it does nothing.

A pool that is not configured to sleep is only woken: else one that slept when this was switched off would stay at 0.
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
    """How long a pool with pods has had no demand, and the replicas that it should have. Pure.

    Args:
        quiet_s: seconds without demand until the last pod is removed; None for a pool that never has 0 pods.
    """

    def __init__(self, quiet_s: float | None) -> None:
        self.quiet_s = quiet_s
        self._since: float | None = None

    def wanted(self, replicas: int, demand: float | None, at: float) -> int | None:
        """The number of replicas that the pool should have; None for no change.

        Args:
            replicas: the number of replicas in the Deployment's spec.
            demand: the demand in the last second, in pods; None if it is not known for sure.
            at: the present time, in seconds.
        """
        if self.quiet_s is None:
            return 1 if replicas == 0 else None
        if demand is None or demand > 0 or replicas == 0:
            self._since = None
        elif self._since is None:
            self._since = at
        if replicas == 0:
            return 1 if demand else None
        quiet = self._since is not None and at - self._since >= self.quiet_s
        return 0 if replicas == 1 and quiet else None


class Activator:
    """The activator of one pool.

    Args:
        kube: the Kubernetes API.
        namespace: the Deployment's namespace.
        pool: the pool's name.
        target: the pool's Deployment and quiet time.
        moved: called with the pool and its new number of replicas after each step.
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

    async def look(self, reading: Reading | None, told: Mapping[str, float], last: bool = False) -> None:
        """Take a step if one is due.

        Args:
            reading: the demand; None if it is not known.
            told: the demand by pool that gateways have just reported. One waiting request is enough to start a pod,
                even if other gateways did not answer.
            last: whether this process ends soon: the next one, which may have other rules, puts pools to sleep.
        """
        demand = told.get(self.pool) or None
        if demand is None and reading is not None:
            demand = reading.now.get(self.pool)
            if not reading.complete and not demand:
                demand = None  # a gateway that did not answer may hold a request
        try:
            scale = await self.kube.call("GET", self.path)
            replicas = int(scale["spec"].get("replicas", 0))
            wanted = self.quiet.wanted(replicas, demand, monotonic())
            if wanted is not None and not (last and wanted == 0):
                version = scale["metadata"]["resourceVersion"]
                change = {"metadata": {"resourceVersion": version}, "spec": {"replicas": wanted}}
                await self.kube.call("PATCH", self.path, change)
                logger.info("pool scaled", extra={"pool": self.pool, "was": replicas, "is": wanted})
                self.moved(self.pool, wanted)
            self._silent = False
        except KubeError as error:
            if error.status != 409 and not self._silent:  # 409: another client has changed it meanwhile
                logger.warning("pool not scaled", extra={"pool": self.pool, "error": str(error)})
                self._silent = True
