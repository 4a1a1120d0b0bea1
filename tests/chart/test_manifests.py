"""What is rendered is what Kubernetes takes, always the same, and the same from Helm 3."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import CHART, Object, environ, helm, pods, read_values, read_yaml, render, texts
from tests.hub import ROOT

KUBERNETES = ("1.29", "1.34", kubernetes_validate.latest_version())
OF_OPERATORS = {"monitoring.coreos.com", "gateway.networking.k8s.io", "keda.sh", "cert-manager.io"}
OF_A_NAMESPACE = {
    "Certificate", "ConfigMap", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "Pod",
    "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "Role", "RoleBinding", "ScaledObject", "Secret", "Service", "ServiceAccount",
    "ServiceMonitor",
}  # fmt: skip
OF_THE_CLUSTER = {"APIService", "ClusterRole", "ClusterRoleBinding"}


@cache
def validate(version: str, text: str) -> None:
    """Hold one object against the schema of a Kubernetes version; equal objects once."""
    thing = json.loads(text)
    if thing["apiVersion"].partition("/")[0] not in OF_OPERATORS:
        kubernetes_validate.validate(thing, version, strict=True)


def of_the_cluster(thing: Object) -> bool:
    """Whether an object is outside of the release's namespace."""
    return thing["kind"] in OF_THE_CLUSTER or thing["metadata"].get("namespace") == "kube-system"


def shape(thing: Object) -> str:
    """An object as text."""
    return json.dumps(thing, sort_keys=True)


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_every_object(name: str, version: str) -> None:
    for thing in render(COMBINATIONS[name]):
        validate(version, shape(thing))


def test_the_oldest_version_that_is_tested_is_the_one_that_is_promised() -> None:
    oldest = KUBERNETES[0]
    metadata = read_values(CHART / "Chart.yaml")
    assert metadata["kubeVersion"] == f">={oldest}.0-0"
    assert f"--kube-version={oldest}.0" in (ROOT / "skaffold.yaml").read_text()
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"Kubernetes {oldest} or newer" in page.read_text() for page in pages)


def test_a_wrong_object_would_be_seen() -> None:
    service = next(thing for thing in render() if thing["kind"] == "Service")
    service["spec"]["port"] = 3000
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(KUBERNETES[0], shape(service))


@pytest.mark.parametrize("name", COMBINATIONS)
def test_lint_finds_nothing(name: str) -> None:
    report = helm.lint(CHART, COMBINATIONS[name], strict=True, kube_version=f"v{KUBERNETES[0]}.0")
    assert report["errors"] is None or report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] >= 2] == []


@pytest.mark.parametrize("name", COMBINATIONS)
def test_two_renders_are_equal(name: str) -> None:
    assert texts(COMBINATIONS[name]) == texts(COMBINATIONS[name])


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_object_is_of_the_release_and_its_namespace(name: str) -> None:
    for thing in render(COMBINATIONS[name], "blue", "shop"):
        if not of_the_cluster(thing):
            assert thing["kind"] in OF_A_NAMESPACE
            assert thing["metadata"]["namespace"] == "shop"
        labels = thing["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "blue"
        assert labels["app.kubernetes.io/name"] == "inferencehub"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"] == "inferencehub-0.1.0"


@pytest.mark.parametrize("name", COMBINATIONS)
def test_only_the_scaler_of_the_cluster_has_more_than_a_namespace(name: str) -> None:
    objects = render(COMBINATIONS[name])
    outside = {f"{thing['kind']} {thing['metadata']['name']}" for thing in objects if of_the_cluster(thing)}
    environments = [environ(spec) for _, _, spec in pods(objects)]
    serves = any(found.get("HUB_METRICS_API") == "true" for found in environments)
    owner = "ml:hub-inferencehub-scaler"
    names = {f"{kind} {owner}" for kind in ("ClusterRole", "ClusterRoleBinding", "RoleBinding")}
    assert outside == (names | {"APIService v1beta1.external.metrics.k8s.io"} if serves else set())


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_template_makes_one_kind(name: str) -> None:
    for path, text in texts(COMBINATIONS[name]).items():
        if path.endswith(".yaml"):
            assert len({thing["kind"] for thing in read_yaml(text)}) <= 1, path


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_folder_of_a_tier_has_objects_of_that_tier_alone(name: str) -> None:
    for path, text in texts(COMBINATIONS[name]).items():
        folder = path.partition("/")[0]
        if folder in {"gateway", "inference", "scaler"}:
            for thing in read_yaml(text):
                assert thing["metadata"]["labels"]["app.kubernetes.io/component"] == folder, path


@pytest.mark.skipif(shutil.which("helm") is None, reason="no helm on PATH")
@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_helm_on_path_renders_the_same(name: str, tmp_path: Path) -> None:
    values = tmp_path / "values.json"
    values.write_text(json.dumps(COMBINATIONS[name]))
    # A Helm that was built without a version believes Kubernetes to be 1.20.
    options = ["--namespace", "ml", "--kube-version", f"{KUBERNETES[0]}.0", "--values", str(values)]
    command = ["helm", "template", "hub", str(CHART), *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert sorted(read_yaml(text), key=shape) == sorted(render(COMBINATIONS[name]), key=shape)
