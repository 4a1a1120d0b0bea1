"""Objects of the user's own, and kinds of objects that a cluster does not know."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import CHART, Values, by_template, merge
from tests.programs import HELM, on_path

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-keys"}}
TEXT = """apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "inferencehub.gateway" . }}-notes
data:
  pods: {{ .Values.gateway.replicas | quote }}
"""
CERT_MANAGER = COMBINATIONS["scaler-for-all"]


def test_more_objects_are_rendered_as_templates() -> None:
    secret, notes = by_template({"extraObjects": [SECRET, TEXT]})["extra.yaml"]
    assert secret == {**SECRET, "metadata": {"name": "hub-keys"}}
    assert notes["metadata"]["name"] == "hub-inferencehub-gateway-notes"
    assert notes["data"] == {"pods": "1"}
    assert by_template({}).get("extra.yaml", []) == []


def rendered_for(values: Values, directory: Path, *apis: str) -> subprocess.CompletedProcess[str]:
    """What `helm` renders for a cluster that has these APIs; for none if there are no APIs."""
    path = directory / "values.json"
    path.write_text(json.dumps(values))
    options = [word for api in apis for word in ("--api-versions", api)]
    command = [on_path(HELM), "template", "hub", str(CHART), "--kube-version", "1.34", "--values", str(path)]
    return subprocess.run([*command, *options], capture_output=True, text=True)


@pytest.mark.tools
@pytest.mark.parametrize(
    ("values", "kind", "install"),
    [
        (
            COMBINATIONS["service-monitor"],
            "monitoring.coreos.com/v1/ServiceMonitor",
            "the Prometheus operator",
        ),
        (COMBINATIONS["pod-monitor"], "monitoring.coreos.com/v1/PodMonitor", "the Prometheus operator"),
        (
            {"monitoring": {"prometheusRule": {"enabled": True}}},
            "monitoring.coreos.com/v1/PrometheusRule",
            "the Prometheus operator",
        ),
        (COMBINATIONS["scaled-by-keda"], "keda.sh/v1alpha1/ScaledObject", "KEDA"),
        (COMBINATIONS["http-route"], "gateway.networking.k8s.io/v1/HTTPRoute", "the Gateway API"),
        (CERT_MANAGER, "cert-manager.io/v1/Certificate", "cert-manager"),
    ],
)
def test_a_kind_that_the_cluster_does_not_know_is_refused(
    values: dict[str, Any], kind: str, install: str, tmp_path: Path
) -> None:
    cluster = "apiregistration.k8s.io/v1"
    refused = rendered_for(values, tmp_path, cluster)
    assert refused.returncode == 1
    assert f"but the cluster has no {kind}: install {install} first, or change that value." in refused.stderr
    assert rendered_for(values, tmp_path, cluster, kind).returncode == 0
    # Without a cluster nobody knows.
    assert rendered_for(values, tmp_path).returncode == 0
    assert rendered_for(merge({}, {}), tmp_path, cluster).returncode == 0
