"""Scales a pool from 0 pods to 1 and from 1 to 0. All other steps belong to the autoscaler.

An autoscaler does nothing while its target has 0 replicas, and it never removes the last replica. So the two never
conflict: the activator scales from 0 to 1 as soon as any gateway holds a request for the pool, and from 1 to 0 after a
time without demand. Above 1 it does nothing.

A pool that is not configured to sleep is only woken: else one that slept when this was switched off would stay at 0.
Whether a pool sleeps stands in an annotation of its Deployment, not in the scaler's settings. So of two scalers during
an upgrade, none follows the old rule: a step is only taken on the version of the Deployment that the rule was read from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from inferencehub.scaler.demand.total import Reading
from inferencehub.scaler.kube import Kube, KubeError

logger = logging.getLogger(__name__)

QUIET_SECONDS = "inferencehub/quiet-seconds"


def quiet_seconds(deployment: Mapping[str, Any]) -> float | None:
    """Seconds without demand until a Deployment's last pod is removed; None if it never is."""
    text = deployment["metadata"].get("annotations", {}).get(QUIET_SECONDS, "")
    return float(text) if text.isdecimal() else None


class Quiet:
    """How long a pool with pods has had no demand, and the replicas that it should have. Pure."""

    def __init__(self) -> None:
        self._since: float | None = None

    def wanted(self, quiet_s: float | None, replicas: int, demand: float | None, at: float) -> int | None:
        """The number of replicas that the pool should have; None for no change.

        Args:
            quiet_s: seconds without demand until the last pod is removed; None for a pool that never has 0 pods.
            replicas: the number of replicas in the Deployment's spec.
            demand: the demand in the last second, in pods; None if it is not known for sure.
            at: the present time, in seconds.
        """
        if quiet_s is None:
            self._since = None
            return 1 if replicas == 0 else None
        if demand is None or demand > 0 or replicas == 0:
            self._since = None
        elif self._since is None:
            self._since = at
        if replicas == 0:
            return 1 if demand else None
        quiet = self._since is not None and at - self._since >= quiet_s
        return 0 if replicas == 1 and quiet else None


class Activator:
    """The activator of one pool.

    Args:
        kube: the Kubernetes API.
        namespace: the Deployment's namespace.
        pool: the pool's name.
        deployment: the name of the pool's Deployment.
        moved: called with the pool and its new number of replicas after each step.
    """

    def __init__(
        self, kube: Kube, namespace: str, pool: str, deployment: str, moved: Callable[[str, int], None]
    ) -> None:
        self.kube = kube
        self.pool = pool
        self.path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"
        self.moved = moved
        self.quiet = Quiet()
        self._silent = False

    async def look(self, reading: Reading | None, told: Mapping[str, float]) -> None:
        """Take a step if one is due.

        Args:
            reading: the demand; None if it is not known.
            told: the demand by pool that gateways have just reported. One waiting request is enough to start a pod,
                even if other gateways did not answer.
        """
        demand = told.get(self.pool) or None
        if demand is None and reading is not None:
            demand = reading.now.get(self.pool)
            if not reading.complete and not demand:
                demand = None  # a gateway that did not answer may hold a request
        try:
            deployment = await self.kube.call("GET", self.path)
            replicas = int(deployment["spec"]["replicas"])
            wanted = self.quiet.wanted(quiet_seconds(deployment), replicas, demand, monotonic())
            if wanted is not None:
                version = deployment["metadata"]["resourceVersion"]
                change = {"metadata": {"resourceVersion": version}, "spec": {"replicas": wanted}}
                await self.kube.call("PATCH", f"{self.path}/scale", change)
                logger.info("pool scaled", extra={"pool": self.pool, "was": replicas, "is": wanted})
                self.moved(self.pool, wanted)
            self._silent = False
        except KubeError as error:
            if error.status != 409 and not self._silent:  # 409: another client has changed it meanwhile
                logger.warning("pool not scaled", extra={"pool": self.pool, "error": str(error)})
                self._silent = True
