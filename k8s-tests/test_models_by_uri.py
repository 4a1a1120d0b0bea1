"""Models by URI: a pod fetches them from a server in the cluster, and a wrong checksum is said where people look while the old pod serves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import tarfile
from contextlib import suppress
from typing import Any

from cluster import DIRECT, QUICK, Release, eventually, release, tls_secret

from tests.authority import Authority

NAMESPACE = "hub-models-by-uri"
SAFE = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def archive() -> bytes:
    """A repository of one model that waits."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in {"quick/config.pbtxt": QUICK.encode(), "quick/1/empty": b""}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def server(content: bytes) -> list[dict[str, Any]]:
    """A web server that has the archive: its file, its pod and its name, models."""
    named = {"metadata": {"name": "models", "labels": {"app": "models"}}}
    container = {
        "name": "models", "image": "inferencehub-gateway:dev", "imagePullPolicy": "IfNotPresent", "securityContext": SAFE,
        "command": ["/opt/venv/bin/python", "-m", "http.server", "8000", "--directory", "/served"],
        "volumeMounts": [{"name": "served", "mountPath": "/served"}],
    }  # fmt: skip
    pod = {
        "containers": [container], "volumes": [{"name": "served", "configMap": {"name": "models"}}],
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    labels = {"app": "models"}
    deployment = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    files = {"models.tgz": base64.b64encode(content).decode()}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", **named, "binaryData": files},
        # A bare pod would keep other tests from draining its node.
        {"apiVersion": "apps/v1", "kind": "Deployment", **named, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", **named, "spec": {"selector": {"app": "models"}, "ports": [{"port": 8000}]}},
    ]  # fmt: skip


def asks(hub: Release) -> str:
    """What the model answers."""
    with DIRECT.open(f"{hub.url()}/predict", b'{"features":[1],"model_name":"quick"}') as answer:
        return str(json.load(answer)["error"])


def reasons(hub: Release) -> list[str]:
    """What GET /v2/models has about models that are not there."""
    with DIRECT.open(f"{hub.url()}/v2/models") as answer:
        return [model["reason"] for model in json.load(answer)["models"] if model["state"] == "UNAVAILABLE"]


def messages(hub: Release) -> list[str]:
    """What fetches that have failed said, as `kubectl describe pod` shows it."""
    found = []
    for pod in hub.get("pods", "-l", "app.kubernetes.io/component=inference")["items"]:
        for status in pod["status"].get("initContainerStatuses", []):
            for state in (status.get("state", {}), status.get("lastState", {})):
                found.append(state.get("terminated", {}).get("message", ""))
    return found


def test_a_wrong_checksum_is_said_and_the_old_pod_serves(authority: Authority) -> None:
    content, tiers = archive(), ("gateway", "inference")
    names = {tier: f"hub-inferencehub-{tier}.{NAMESPACE}.svc" for tier in tiers}
    secrets = [tls_secret(tier, *authority.signed(names[tier]), authority.certificate) for tier in tiers]
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64

    def values(checksum: str) -> dict[str, Any]:
        return {
            "gateway": {"service": {"type": "NodePort"}},
            "models": {"source": "uri", "uri": f"http://models:8000/models.tgz#sha256={checksum}"},
            "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
            "tls": {"tiers": {tier: {"existingSecret": tier} for tier in tiers}},
            "extraObjects": [*server(content), *secrets],
        }

    with release(values(right), NAMESPACE) as hub:
        assert asks(hub) == ""
        with suppress(AssertionError, subprocess.SubprocessError):  # Helm waits for a pod that does not come
            hub.deploy(values(wrong), wait_s=20)
        sentence = f"The models cannot be fetched: http://models:8000/models.tgz has the sha256 {right}, expected {wrong}."
        eventually(lambda: sentence in messages(hub), "the pod's status says why")
        eventually(lambda: reasons(hub) == [sentence], "the gateway says why")
        assert asks(hub) == ""
        hub.deploy(values(right))
        assert asks(hub) == ""
