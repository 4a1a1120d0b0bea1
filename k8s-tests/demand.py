"""A release that scales on demand, and what Kubernetes' API says of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import yaml
from cluster import CHART, Release, run

API = "/apis/external.metrics.k8s.io/v1beta1"
APISERVICE = "v1beta1.external.metrics.k8s.io"
DEMO = CHART / "values-scale-demo.yaml"


def values(**autoscaling: Any) -> dict[str, Any]:
    """The scale demo's values, with a way in that is not tied to one pod, as a port-forward is: 8 requests a second
    and pod, and pods that follow demand."""
    demo: dict[str, Any] = yaml.safe_load(DEMO.read_text())
    demo["gateway"]["service"] = {"type": "NodePort"}
    demo["inference"]["autoscaling"] |= autoscaling
    return demo


def ask(path: str) -> Any:
    """What Kubernetes' API answers; None where it refuses."""
    done = subprocess.run(["kubectl", "get", "--raw", path], capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout) if done.returncode == 0 else None


def path(hub: Release, pool: str = "default") -> str:
    """Where the demand for a pool is, as an autoscaler asks for it."""
    labels = quote(f"release={hub.name},pool={pool}", safe="")
    return f"{API}/namespaces/{hub.namespace}/inferencehub_demand?labelSelector={labels}"


def demand(hub: Release) -> float | None:
    """The demand for the pool `default` in pods; None where there is no answer."""
    listed = ask(path(hub))
    if listed is None or not listed["items"]:
        return None
    (item,) = listed["items"]
    return float(item["value"].removesuffix("m")) / 1000


async def readings(hub: Release, seconds: float) -> list[float | None]:
    """The demand once a second."""
    began, found = time.monotonic(), []
    while time.monotonic() - began < seconds:
        found.append(await asyncio.to_thread(demand, hub))
        await asyncio.sleep(max(0.0, began + len(found) - time.monotonic()))
    return found


def replicas(hub: Release) -> tuple[int, int]:
    """The pods of the pool `default`: asked for, and ready."""
    deployment = hub.get(f"deployment/{hub.inference()}")
    return deployment["spec"]["replicas"], deployment["status"].get("readyReplicas", 0)


def left_over(what: Mapping[str, str]) -> list[str]:
    """Objects, by kind and name, that are still there; a kind may end in "/namespace"."""
    found = []
    for kind, name in what.items():
        kind, _, namespace = kind.partition("/")
        within = ["--namespace", namespace] if namespace else []
        said = run("kubectl", "get", kind, name, *within, "--ignore-not-found", "-o", "name")
        found += said.split()
    return found
