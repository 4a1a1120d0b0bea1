"""The state of a pool in Kubernetes: its pods, what its autoscaler reads, and the CPU that its pods use.

It keeps one `kubectl proxy` open: one kubectl each second would use more CPU than the pods that it watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from cluster import Release, proxied

SCALES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True, slots=True)
class Scaling:
    """The state at one moment. None: there is no reading."""

    asked: int
    ready: int
    reading: float | None  # what the autoscaler reads, over its target: above 1 it wants more pods
    demand: float | None  # the number of pods that would be fully busy, if the autoscaler reads that
    cpu_percent: float | None  # of the pods' CPU request, on average


def quantity(text: str) -> float:
    """The number in a text of Kubernetes: 700m is 0.7."""
    number = text.rstrip("numkM")
    return float(number) * SCALES[text[len(number) :]]


def reading(hpa: Any) -> tuple[float | None, float | None]:
    """What an autoscaler reads, divided by its target, and the demand if the autoscaler follows demand."""
    status, (wanted,) = hpa["status"], hpa["spec"]["metrics"]
    kind = wanted["type"].lower()
    found = [metric[kind]["current"] for metric in status.get("currentMetrics") or [] if kind in metric]
    now: dict[str, Any] = next(iter(found), {})
    target = wanted[kind]["target"]
    if "averageUtilization" in now:
        return now["averageUtilization"] / target["averageUtilization"], None
    if "averageValue" in now and kind == "external":
        mean = quantity(now["averageValue"])
        return mean / quantity(target["averageValue"]), mean * status["currentReplicas"]
    return None, None


def usage(deployment: Any, pods: Any) -> float | None:
    """CPU usage in percent of the request: the mean of all pods that metrics-server knows."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    request = sum(quantity(container["resources"]["requests"]["cpu"]) for container in containers)
    used = [
        sum(quantity(c["usage"]["cpu"]) for c in pod["containers"]) for pod in (pods or {}).get("items", [])
    ]
    return 100 * sum(used) / len(used) / request if used else None


class Autoscaler:
    """The autoscaler of a release's pool, and the pods of that pool.

    Args:
        hub: the release.
        client: a session whose base URL is a proxy to the API server.
    """

    def __init__(self, hub: Release, client: aiohttp.ClientSession) -> None:
        place = f"namespaces/{hub.namespace}"
        self._deployment = f"/apis/apps/v1/{place}/deployments/{hub.inference()}"
        self._hpa = f"/apis/autoscaling/v2/{place}/horizontalpodautoscalers/{hub.inference()}"
        self._pods = (
            f"/apis/metrics.k8s.io/v1beta1/{place}/pods?labelSelector=app.kubernetes.io/component=inference"
        )
        self._client = client

    async def _get(self, path: str) -> Any | None:
        """An object; None if the API does not have it, or does not serve it at the moment."""
        async with self._client.get(path) as answer:
            if answer.status in (404, 503):
                return None
            answer.raise_for_status()
            return await answer.json()

    async def metered(self) -> bool:
        """Whether this cluster has a metrics-server."""
        return await self._get(self._pods) is not None

    async def look(self) -> Scaling:
        """The state at this moment."""
        deployment, hpa, pods = await asyncio.gather(
            self._get(self._deployment), self._get(self._hpa), self._get(self._pods)
        )
        assert deployment is not None, "the release is gone"
        assert hpa is not None, "the pool has no autoscaler"
        ready = deployment["status"].get("readyReplicas", 0)
        return Scaling(deployment["spec"]["replicas"], ready, *reading(hpa), usage(deployment, pods))


@asynccontextmanager
async def autoscaler(hub: Release) -> AsyncIterator[Autoscaler]:
    """A release's autoscaler, through a kubectl proxy that ends with the block."""
    with proxied() as url:
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=20)) as client:
            yield Autoscaler(hub, client)
