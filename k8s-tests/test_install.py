"""From `helm install` to `helm uninstall`, with the questions of the README and of docs/api.md."""

from __future__ import annotations

import json
import re
import subprocess
from time import monotonic
from typing import Any

from cluster import CHART, DIRECT, KIND_VALUES, ROOT, Release, eventually, release, run

ASKED = re.compile(r"<!-- asked -->\n```sh\n(.*?)\n```\n```json\n(.*?)\n```", re.DOTALL)
LEFT = "all,configmaps,secrets,serviceaccounts,poddisruptionbudgets,horizontalpodautoscalers,networkpolicies,roles,rolebindings"


def decoded(text: str) -> object:
    return json.loads(text, parse_float=lambda digits: round(float(digits), 4))


def test_install_ask_test_upgrade_rollback_uninstall(figure: Any) -> None:
    began = monotonic()
    with release({}, "hub-install") as hub:
        with hub.forwarded(f"service/{hub.gateway}", 3000) as address:
            pages = ("README.md", "docs/api.md")
            questions = [asked for page in pages for asked in ASKED.findall((ROOT / page).read_text())]
            assert len(questions) >= 6
            for number, (command, expected) in enumerate(questions):
                asked = command.replace("localhost:3000", address)
                assert decoded(run("sh", "-c", asked)) == decoded(expected), command
                if number == 0:
                    figure(f"{monotonic() - began:.1f} s from `helm install` to the first prediction")
        with hub.forwarded(f"pod/{hub.ready('gateway')[0].name}", 9090) as address:
            text = DIRECT.open(f"http://{address}/metrics").read().decode()
        assert (
            'inferencehub_gateway_request_seconds_count{front="http",model="digits",status="200"} 1.0' in text
        )
        with hub.forwarded(f"pod/{hub.ready('inference')[0].name}", 9090) as address:
            text = DIRECT.open(f"http://{address}/metrics").read().decode()
        assert 'inferencehub_inference_model_ready{model="digits",version="1"} 1.0' in text

        run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")
        before = [pod.name for pod in hub.ready("gateway")]
        unchanged = [pod.name for pod in hub.ready("inference")]
        hub.deploy({"gateway": {"log": {"level": "debug"}}})
        eventually(lambda: len(hub.pods("gateway")) == 1, "the old gateway is gone")
        assert [pod.name for pod in hub.ready("gateway")] != before
        assert [pod.name for pod in hub.ready("inference")] == unchanged, (
            "only the pods concerned are replaced"
        )
        run("helm", "rollback", hub.name, "-n", hub.namespace, "--wait", "--timeout", "120s")
        environ = hub.get("deployment", hub.gateway)["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "HUB_LOG_LEVEL", "value": "info"} in environ

        run("helm", "uninstall", hub.name, "-n", hub.namespace, "--wait", "--timeout", "120s")
        eventually(lambda: not left(hub), f"nothing is left, but there is {left(hub)}")


def left(hub: Release) -> list[str]:
    """What is in the namespace and not Kubernetes' own."""
    names = hub.kubectl("get", LEFT, "-o", "name").split()
    return [name for name in names if name not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]


def test_a_typo_in_the_values_is_refused_with_its_name() -> None:
    command = [
        "helm",
        "template",
        "hub",
        str(CHART),
        "--values",
        str(KIND_VALUES),
        "--set",
        "gateway.replica=2",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "replica" in done.stderr
