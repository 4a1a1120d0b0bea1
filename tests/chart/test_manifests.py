"""The rendered manifests: Kubernetes accepts them, and they are the same every time and with Helm 3."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate
import pytest
from referencing import Registry, Resource

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import (
    CHART,
    Object,
    by_template,
    environ,
    helm,
    pods,
    read_values,
    read_yaml,
    render,
    rendered,
    texts,
)
from tests.hub import ROOT
from tests.programs import HELM, on_path

KUBERNETES = ("1.29.0", "1.34.0", kubernetes_validate.latest_version())
OF_OPERATORS = {"monitoring.coreos.com", "gateway.networking.k8s.io", "keda.sh", "cert-manager.io"}
OF_A_NAMESPACE = {
    "Certificate", "ConfigMap", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "Pod",
    "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "Role", "RoleBinding", "ScaledObject", "Secret", "Service", "ServiceAccount",
    "ServiceMonitor", "StatefulSet", "TriggerAuthentication",
}  # fmt: skip
OF_THE_CLUSTER = {"APIService", "ClusterRole", "ClusterRoleBinding"}


@cache
def validator(version: str, kind: str, api: str) -> jsonschema.Draft202012Validator:
    """What checks objects of a kind by the schema of a Kubernetes version, such as 1.29.0, and refuses unknown fields.

    It reads the files of kubernetes-validate as its own `validate` does, but once: that one parses megabytes for each object.
    """
    schemas = files(kubernetes_validate) / "kubernetes-json-schema" / f"v{version}-local-strict"
    group, _, number = api.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    schema = json.loads((schemas / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=definitions(version))


@cache
def definitions(version: str) -> Registry[Any]:
    """What the schemas of a Kubernetes version refer to."""
    schemas = files(kubernetes_validate) / "kubernetes-json-schema" / f"v{version}-local-strict"
    shared = Resource.from_contents(json.loads((schemas / "_definitions.json").read_text()))
    return shared @ Registry()


@cache
def validate(version: str, text: str) -> None:
    """Check one object by the schema of a Kubernetes version; equal objects once."""
    thing = json.loads(text)
    if thing["apiVersion"].partition("/")[0] not in OF_OPERATORS:
        validator(version, thing["kind"], thing["apiVersion"]).validate(thing)


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
    oldest = KUBERNETES[0].removesuffix(".0")
    metadata = read_values(CHART / "Chart.yaml")
    assert metadata["kubeVersion"] == f">={oldest}.0-0"
    assert f"--kube-version={oldest}.0" in (ROOT / "skaffold.yaml").read_text()
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"Kubernetes {oldest} or newer" in page.read_text() for page in pages)


def test_a_wrong_object_would_be_seen() -> None:
    service = next(thing for thing in render() if thing["kind"] == "Service")
    service["spec"]["port"] = 3000
    with pytest.raises(jsonschema.ValidationError):
        validate(KUBERNETES[0], shape(service))


@pytest.mark.parametrize("name", COMBINATIONS)
def test_lint_finds_nothing(name: str) -> None:
    report = helm.lint(CHART, COMBINATIONS[name], strict=True, kube_version=f"v{KUBERNETES[0]}")
    assert report["errors"] is None or report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] >= 2] == []


@pytest.mark.parametrize("name", COMBINATIONS)
def test_two_renders_are_equal(name: str) -> None:
    assert rendered(COMBINATIONS[name]) == texts(COMBINATIONS[name])


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
    for path, objects in by_template(COMBINATIONS[name]).items():
        assert len({thing["kind"] for thing in objects}) <= 1, path


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_folder_of_a_tier_has_objects_of_that_tier_alone(name: str) -> None:
    for path, objects in by_template(COMBINATIONS[name]).items():
        folder = path.partition("/")[0]
        if folder in {"gateway", "inference", "scaler"}:
            for thing in objects:
                assert thing["metadata"]["labels"]["app.kubernetes.io/component"] == folder, path


@pytest.mark.tools
@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_helm_on_path_renders_the_same(name: str, tmp_path: Path) -> None:
    values = tmp_path / "values.json"
    values.write_text(json.dumps(COMBINATIONS[name]))
    # A Helm that was built without a version believes Kubernetes to be 1.20.
    options = ["--namespace", "ml", "--kube-version", KUBERNETES[0], "--values", str(values)]
    command = [on_path(HELM), "template", "hub", str(CHART), *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert sorted(read_yaml(text), key=shape) == sorted(render(COMBINATIONS[name]), key=shape)
