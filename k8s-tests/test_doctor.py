"""Faults that are planted into a release, and what `inferencehub doctor` says of each from inside its containers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import QUICK, Release, eventually, mock_models, release, tls_secret

from tests.authority import Authority

GATEWAY = "hub-inferencehub-gateway"
INFERENCE = "hub-inferencehub-inference-default"
SCALER = "hub-inferencehub-scaler"
JOBS = "hub-inferencehub-jobs"
SECRET = "gateway-tls"
BROKEN = {
    "broken/config.pbtxt": QUICK.replace('"mock"', '"python"'),
    "broken/1/model.py": "raise RuntimeError('the weights are missing')\n",
}
OLDER = """
import sys, runpy, inferencehub
inferencehub.__version__ = "0.0.9"
runpy.run_module("inferencehub.inference", run_name="__main__", alter_sys=True)
"""
SET = """
from redis import Redis
client = Redis("{host}")
client.config_set("maxmemory-policy", "{policy}")
"""
Finding = dict[str, str]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release that has all that the faults need: a scaler, jobs, limits, and a certificate for callers."""
    signer = Authority(tmp_path_factory.mktemp("callers"), "callers")
    image = {"repository": "inferencehub-valkey", "tag": "dev"}
    values: dict[str, Any] = {
        "models": mock_models(quick=QUICK),
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
        "gateway": {"replicas": 1},
        "inference": {"autoscaling": {"source": "demand", "minReplicas": 1, "maxReplicas": 2}},
        "scaler": {"replicas": 1},
        "jobs": {"redis": {"embedded": {"enabled": True, "image": image, "storage": {"persistent": False}}}},
        "limits": {"addresses": {"rate": 1000}},
        "tls": {"callers": {"existingSecret": SECRET}},
        "extraObjects": [tls_secret(SECRET, *signer.brief("gateway", 90 * 86_400))],
    }
    with release(values, "hub-doctor") as hub:
        yield hub


def doctor(hub: Release, pod: str) -> tuple[int, list[Finding]]:
    """The exit code of the command in a pod, and what it has found; 0 and nothing while it cannot be run there."""
    done = subprocess.run(
        ["kubectl", "-n", hub.namespace, "exec", pod, "--", "inferencehub", "doctor", "--json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if not done.stdout.startswith("{"):
        return 0, []
    return done.returncode, json.loads(done.stdout)["findings"]


def said(hub: Release, component: str, what: str, level: str = "fault") -> list[str]:
    """What the doctors of all pods of a tier say of something at this level."""
    found = []
    for pod in hub.pods(component):
        if not pod.ending:
            for one in doctor(hub, pod.name)[1]:
                if one["what"].startswith(what) and one["level"] == level:
                    assert one["fix"], "it says what to do"
                    found.append(one["seen"])
    return found


def finds(
    hub: Release, component: str, what: str, text: str, level: str = "fault", within_s: float = 90
) -> str:
    """Wait until a doctor says this; the whole sentence."""
    seen: list[str] = []

    def is_said() -> bool:
        seen[:] = [one for one in said(hub, component, what, level) if text in one]
        return bool(seen)

    eventually(is_said, f"a doctor of {component} says '{text}' of {what}", within_s, every_s=1.0)
    return seen[0]


def healthy(hub: Release) -> bool:
    """Whether no doctor finds a fault."""
    pods = [pod for tier in ("gateway", "inference", "scaler") for pod in hub.pods(tier) if not pod.ending]
    looked = [doctor(hub, pod.name) for pod in pods]
    return all(code == 0 and found for code, found in looked)


def mended(hub: Release) -> None:
    """Put the release back, and wait until no doctor finds a fault."""
    hub.deploy()
    eventually(lambda: healthy(hub), "no doctor finds a fault", 120, every_s=1.0)


def test_nothing_is_wrong_and_people_can_read_it(hub: Release) -> None:
    eventually(lambda: healthy(hub), "no doctor finds a fault", 120, every_s=1.0)
    for deployment, tier in ((GATEWAY, "gateway"), (INFERENCE, "inference"), (SCALER, "scaler")):
        text = hub.kubectl("exec", f"deployment/{deployment}", "--", "inferencehub", "doctor")
        assert text.startswith(f"{tier} ")
        assert "OK " in text


def test_a_certificate_that_has_ended(hub: Release, tmp_path: Path, figure: Any) -> None:
    before = hub.get(f"secret/{SECRET}")["data"]
    ended = Authority(tmp_path, "ended").brief("gateway", -3600)
    hub.put_secrets("gateway", tls_secret(SECRET, *ended))
    figure(finds(hub, "gateway", "HUB_TLS", "its certificate has ended"))
    hub.kubectl("patch", "secret", SECRET, "--type=merge", "--patch", json.dumps({"data": before}))
    hub.look("gateway")
    eventually(lambda: healthy(hub), "no doctor finds a fault", 120, every_s=1.0)


def test_a_file_of_limits_that_is_broken(hub: Release, figure: Any) -> None:
    name = f"{GATEWAY}-limits"
    patch = {"data": {"limits.json": '{"addresses": {"rate": "many"}}'}}
    hub.kubectl("patch", "configmap", name, "--type=merge", "--patch", json.dumps(patch))
    hub.look("gateway")
    figure(finds(hub, "gateway", "HUB_LIMITS", "rate", within_s=120))
    mended_limits = {"data": {"limits.json": '{"addresses": {"rate": 1000}}'}}
    hub.kubectl("patch", "configmap", name, "--type=merge", "--patch", json.dumps(mended_limits))
    hub.look("gateway")
    eventually(lambda: healthy(hub), "no doctor finds a fault", 120, every_s=1.0)


def test_a_store_that_throws_jobs_away(hub: Release, figure: Any) -> None:
    program = SET.format(host=JOBS, policy="allkeys-lru")
    hub.kubectl("exec", f"deployment/{GATEWAY}", "--", "python", "-c", program)
    figure(finds(hub, "gateway", "store of jobs", "maxmemory-policy is allkeys-lru"))
    program = SET.format(host=JOBS, policy="noeviction")
    hub.kubectl("exec", f"deployment/{GATEWAY}", "--", "python", "-c", program)
    eventually(lambda: healthy(hub), "no doctor finds a fault", 60, every_s=1.0)


def test_a_store_that_is_down(hub: Release, figure: Any) -> None:
    hub.kubectl("scale", f"statefulset/{JOBS}", "--replicas=0")
    figure(finds(hub, "gateway", "store of jobs", "does not answer"))
    mended(hub)


def test_rights_of_the_scaler_that_are_missing(hub: Release, figure: Any) -> None:
    hub.kubectl("delete", "rolebinding", SCALER)
    figure(finds(hub, "scaler", "rights", "may not: list endpointslices"))
    mended(hub)


def test_an_autoscaler_without_a_source_of_its_metric(hub: Release, figure: Any) -> None:
    metric = {
        "type": "Pods",
        "pods": {"metric": {"name": "nothing"}, "target": {"type": "AverageValue", "averageValue": "1"}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": GATEWAY}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "blind", "labels": {"app.kubernetes.io/instance": hub.name}},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2, "metrics": [metric]},
    }
    hub.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(autoscaler))
    try:
        figure(finds(hub, "scaler", "autoscaler blind", "it has no metric", within_s=150))
    finally:
        hub.kubectl("delete", "hpa", "blind")


def test_a_wrong_name_of_the_inference_service(hub: Release, figure: Any) -> None:
    hub.kubectl(
        "set",
        "env",
        f"deployment/{GATEWAY}",
        "GRPC_SERVER_URL=hub-inference.nowhere.svc.cluster.local.:50051",
    )
    figure(finds(hub, "gateway", "GRPC_SERVER_URL", "has no address: there is no such name"))
    mended(hub)


def test_a_limit_of_memory_that_is_too_small(hub: Release, figure: Any) -> None:
    hub.kubectl("set", "resources", f"deployment/{GATEWAY}", "--limits=memory=300Mi")
    figure(finds(hub, "gateway", "memory", "the limit is 300 MiB"))
    mended(hub)


def test_a_model_that_does_not_load(hub: Release, figure: Any) -> None:
    models, before = mock_models(quick=QUICK), hub.values
    models["configMap"]["files"] |= BROKEN
    try:
        hub.deploy({**before, "models": models})
        figure(finds(hub, "inference", "model broken", "the weights are missing"))
        figure(finds(hub, "gateway", "model broken", "no pod serves it"))
    finally:
        hub.values = before
    mended(hub)


def test_a_required_model_that_is_missing(hub: Release, figure: Any) -> None:
    hub.kubectl("set", "env", f"deployment/{INFERENCE}", "HUB_REQUIRED_MODELS=absent")
    figure(finds(hub, "inference", "HUB_REQUIRED_MODELS", "it names 'absent'"))
    figure(finds(hub, "gateway", "pod ", "required models do not serve: absent", "warning"))
    hub.kubectl("set", "env", f"deployment/{INFERENCE}", "HUB_REQUIRED_MODELS-")
    mended(hub)


def test_tiers_of_different_versions(hub: Release, figure: Any) -> None:
    command = ["/opt/venv/bin/python", "-c", OLDER]
    containers = [{"name": "inference", "command": command}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    hub.kubectl("patch", f"deployment/{INFERENCE}", "--patch", json.dumps(patch))
    figure(finds(hub, "gateway", "versions", "0.0.9", "warning"))
    undo = [{"op": "remove", "path": "/spec/template/spec/containers/0/command"}]
    hub.kubectl("patch", f"deployment/{INFERENCE}", "--type=json", "--patch", json.dumps(undo))
    mended(hub)


def test_a_network_policy_that_shuts_the_port_of_the_pods(hub: Release, figure: Any) -> None:
    labels = {"app.kubernetes.io/component": "inference", "app.kubernetes.io/instance": hub.name}
    shut = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "hub-inferencehub-inference"},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"], "ingress": []},
    }
    hub.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(shut))
    hub.restart(GATEWAY)  # what is connected already stays so
    try:
        eventually(
            lambda: said(hub, "gateway", "pods") or said(hub, "gateway", "pods", "ok"), "it has looked", 60
        )
        if not said(hub, "gateway", "pods"):
            pytest.skip("this cluster does not enforce NetworkPolicies")
        figure(finds(hub, "gateway", "pod ", "it does not answer"))
    finally:
        mended(hub)
