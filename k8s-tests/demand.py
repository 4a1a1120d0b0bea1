"""A release that scales on demand, and what Kubernetes' API says of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from cluster import Release, mock_models, run

API = "/apis/external.metrics.k8s.io/v1beta1"
APISERVICE = "v1beta1.external.metrics.k8s.io"
SLOW = """backend: "mock"
input { name: "features" data_type: TYPE_FP32 dims: [-1] }
output { name: "class_id" data_type: TYPE_INT32 dims: [1] }
output { name: "confidence" data_type: TYPE_FP32 dims: [1] }
instance_group { count: 4 }
parameters { key: "delay_ms" value { string_value: "500" } }
parameters { key: "predict_class" value { string_value: "class_id" } }
parameters { key: "predict_confidence" value { string_value: "confidence" } }
"""
DOWN_S = 60  # the window of its way down


def values(**autoscaling: Any) -> dict[str, Any]:
    """Values of a release whose model answers 8 requests a second and pod, and whose pods follow demand."""
    down = {
        "stabilizationWindowSeconds": DOWN_S,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }
    return {
        "models": mock_models(**{"v1-mock": SLOW}),
        "example": {"classId": None},
        "gateway": {
            "service": {"type": "NodePort"},
            "extraEnv": [{"name": "HUB_QUEUE_LENGTH", "value": "1000"}],
            "drain": {"waitSeconds": 5, "timeoutSeconds": 20},
        },
        "inference": {
            "requiredModels": ["v1-mock"],
            "autoscaling": {"source": "demand", "behavior": {"scaleDown": down}, **autoscaling},
        },
    }


def ask(path: str) -> Any:
    """What Kubernetes' API answers; None where it refuses."""
    done = subprocess.run(["kubectl", "get", "--raw", path], capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout) if done.returncode == 0 else None


@contextmanager
def proxied() -> Iterator[str]:
    """Kubernetes' API by a plain address, with this machine's rights."""
    with subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield f"http://{proxy.stdout.readline().split()[-1]}"
        finally:
            proxy.terminate()


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
