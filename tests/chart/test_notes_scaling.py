"""NOTES.txt about the number of pods: what the cluster lacks, where to look, what an uninstall does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import CHART, Values, at, merge, of_kind, read_yaml, render, texts
from tests.programs import HELM, on_path

CPU, DEMAND, KEDA, PROMETHEUS, NONE = (
    at("inference.autoscaling.source", source) for source in ("cpu", "demand", "keda", "prometheus", "none")
)
EXISTING = COMBINATIONS["scaled-by-demand-of-others"]
METRICS, EXTERNAL, KEDA_API = "metrics.k8s.io/v1beta1", "external.metrics.k8s.io/v1beta1", "keda.sh/v1alpha1"


def notes(values: Values) -> str:
    """The notes for a cluster that has nothing beside Kubernetes."""
    return " ".join(texts(values)["NOTES.txt"].split())


@pytest.mark.parametrize(
    ("values", "said", "unsaid"),
    [
        (CPU, "needs metrics-server", "external.metrics"),
        (CPU, "no API metrics.k8s.io", "KEDA"),
        (merge(NONE, at("gateway.autoscaling.enabled", True)), "needs metrics-server", "external.metrics"),
        (NONE, "helm --namespace ml test", "metrics-server"),
        (DEMAND, "kubectl delete apiservice v1beta1.external.metrics.k8s.io", "metrics-server"),
        (DEMAND, "deletes the APIService first", "is missing in this cluster"),
        (EXISTING, "another release must have source demand and scaler.allNamespaces", "kubectl delete apiservice"),
        (PROMETHEUS, "files/prometheus-adapter-values.yaml", "kubectl delete apiservice"),
        (PROMETHEUS, "is off: set monitoring.prometheusRule.enabled", "KEDA"),
        (merge(PROMETHEUS, at("monitoring.prometheusRule.enabled", True)), "is missing in this cluster", "is off:"),
        (KEDA, "KEDA is not installed (no API keda.sh)", "external.metrics"),
        (COMBINATIONS["scaled-to-zero"], "Without requests, these pools have no pods: default, keda.", "still. The"),
    ],
)  # fmt: skip
def test_each_source_says_what_it_needs(values: Values, said: str, unsaid: str) -> None:
    text = notes(values)
    assert said in text
    assert unsaid not in text


@pytest.mark.parametrize("values", [DEMAND, PROMETHEUS, EXISTING])
def test_the_metric_that_is_shown_is_the_one_that_the_autoscaler_asks_for(values: Values) -> None:
    found = texts(values, "blue", "shop")["NOTES.txt"]
    (line,) = (line for line in found.splitlines() if "--raw" in line)
    path, query = urlsplit(line.split("'")[1])[2:4]
    (autoscaler,) = of_kind(render(values, "blue", "shop"), "HorizontalPodAutoscaler")
    metric = autoscaler["spec"]["metrics"][0]["external"]["metric"]
    assert path == f"/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/{metric['name']}"
    (selector,) = parse_qs(query)["labelSelector"]
    assert dict(part.split("=") for part in selector.split(",")) == metric["selector"]["matchLabels"]


@pytest.mark.tools
@pytest.mark.parametrize(
    ("values", "apis", "lacks"),
    [
        (CPU, [], "no API metrics.k8s.io"),
        (CPU, [METRICS], ""),
        (KEDA, [METRICS], "no API keda.sh"),
        (KEDA, [KEDA_API], ""),
        (PROMETHEUS, [], "external.metrics.k8s.io is missing"),
        (PROMETHEUS, [EXTERNAL], ""),
        (EXISTING, [EXTERNAL], ""),
    ],
)
def test_what_is_there_is_not_asked_for(values: Values, apis: list[str], lacks: str, tmp_path: Path) -> None:
    # `helm template` shows no notes, so a copy of the chart puts them into an object.
    copied = shutil.copytree(CHART, tmp_path / "inferencehub")
    (copied / "templates" / "notes.yaml").write_text(
        'kind: Notes\ntext: {{ include "inferencehub/templates/NOTES.txt" . | toJson }}\n'
    )
    (tmp_path / "values.json").write_text(json.dumps(values))
    options = ["--kube-version", "1.29.0", "--values", str(tmp_path / "values.json")]
    for api in apis:
        options += ["--api-versions", api]
    command = [on_path(HELM), "template", "hub", str(copied), "--show-only", "templates/notes.yaml", *options]
    (shown,) = read_yaml(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    sentences = ("no API metrics.k8s.io", "no API keda.sh", "external.metrics.k8s.io is missing")
    assert [sentence for sentence in sentences if sentence in shown["text"]] == ([lacks] if lacks else [])
