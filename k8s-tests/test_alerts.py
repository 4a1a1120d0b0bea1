"""Alerts of the chart fire on a cluster when what they tell of happens, no others do, and they end when it is mended."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cluster import Release, eventually, release, tls_secret
from demand import values
from open_loop import open_loop
from scraping import Prometheus, prometheus

from tests.authority import Authority

SECRET = "gateway-tls"
JOBS = "statefulset/hub-inferencehub-jobs"
DAY_S = 86_400
BROKEN = {
    "broken/config.pbtxt": 'backend: "python"\ninput { name: "x" data_type: TYPE_FP32 dims: [1] }\n'
    'output { name: "y" data_type: TYPE_FP32 dims: [1] }\n',
    "broken/1/model.py": "raise RuntimeError('the weights are missing')\n",
}
# One pod has four slots and serves 8 requests a second, so this load asks for more than one, and two have no queue.
RATE = 7
TOGETHER = {"ModelDown", "CertificateEnds", "StoreDown", "PoolAtMaximum"}
ALL = {*TOGETHER, "NoPod"}
LOADS = "LoadFailed"  # it tells of what failed within a quarter of an hour, so it may outlast the model


def release_values(signer: Authority) -> dict[str, Any]:
    """A release of one to two pods, with jobs, and with a certificate that is good for 90 days."""
    soon_down = {
        "stabilizationWindowSeconds": 15,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}],
    }
    chosen = values(maxReplicas=2, behavior={"scaleDown": soon_down})
    image = {"repository": "inferencehub-valkey", "tag": "dev"}
    chosen["gateway"] |= {"replicas": 1}
    return chosen | {
        "scaler": {"replicas": 1},
        "jobs": {"redis": {"embedded": {"enabled": True, "image": image, "storage": {"persistent": False}}}},
        "tls": {"callers": {"existingSecret": SECRET}},
        "extraObjects": [certificate(signer, 90)],
    }


def certificate(signer: Authority, days: float) -> dict[str, Any]:
    """The gateway's certificate, which ends in so many days."""
    return tls_secret(SECRET, *signer.brief("gateway", days * DAY_S))


def place(hub: Release, labels: Mapping[str, str] | None) -> None:
    """Let new inference pods run only on nodes with these labels."""
    spec = {"template": {"spec": {"nodeSelector": labels}}}
    hub.kubectl("patch", f"deployment/{hub.inference()}", "--patch", json.dumps({"spec": spec}))


def become(seen: Prometheus, wanted: set[str], within_s: float, figure: Callable[[object], None]) -> None:
    """Wait until these alerts fire, and no other but the one of loads."""
    began, firing = monotonic(), set(seen.alerts())

    def are() -> bool:
        nonlocal firing
        found = seen.alerts()
        for name in sorted(set(found) - firing):
            figure(f"{name} fires after {monotonic() - began:.0f} s: {found[name]}")
        for name in sorted(firing - set(found)):
            figure(f"{name} ends after {monotonic() - began:.0f} s")
        firing = set(found)
        return firing - {LOADS} == wanted

    eventually(are, f"the alerts that fire are {wanted or 'none'}", within_s, every_s=1.0)


@pytest.mark.parametrize(
    "soon", [True, pytest.param(False, marks=pytest.mark.long)], ids=["soon", "as the chart has them"]
)
async def test_alerts_fire_and_end(soon: bool, tmp_path: Path, figure: Any) -> None:
    signer = Authority(tmp_path, "callers")
    trusting = ssl.create_default_context(cafile=str(signer.certificate))
    trusting.check_hostname = False  # the node's address is not in it
    chosen = release_values(signer)
    models = chosen["models"]["configMap"]
    within_s = 120.0 if soon else 1200.0
    with release(chosen, "hub-alerts") as hub, prometheus(hub, ALL if soon else set()) as seen:
        url = hub.url().replace("http:", "https:")

        async def alerts(*wanted: str) -> None:
            await asyncio.to_thread(become, seen, set(wanted), within_s, figure)

        await asyncio.sleep(15)  # time for what should not be
        await alerts()
        async with open_loop(url, tls=trusting) as load:
            load.rate = RATE
            broken = {
                **chosen,
                "models": {"source": "configMap", "configMap": {"files": models["files"] | BROKEN}},
            }
            await asyncio.to_thread(hub.deploy, broken)
            hub.put_secrets("gateway", certificate(signer, 3))
            hub.kubectl("scale", JOBS, "--replicas=0")
            await alerts(*TOGETHER)
            load.rate = 0
        assert not load.failed
        await asyncio.to_thread(hub.deploy, chosen)
        await alerts()

        place(hub, {"tests/there-is": "none"})
        hub.kubectl("delete", "replicasets", "-l", "app.kubernetes.io/component=inference")
        await alerts("NoPod")
        place(hub, None)
        await alerts()
