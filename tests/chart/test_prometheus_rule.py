"""Demand through Prometheus: the recording rule as Prometheus computes it, and the adapter's rule that exposes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import CHART, Object, of_kind, render
from tests.programs import PROMTOOL, on_path

ADAPTER = yaml.safe_load((CHART / "files" / "prometheus-adapter-values.yaml").read_text())


def rules() -> Object:
    """The rendered rules, as Prometheus reads them."""
    (found,) = of_kind(render(COMBINATIONS["prometheus-rule"]), "PrometheusRule")
    spec: Object = found["spec"]
    return spec


def series(
    pod: str,
    pool: str,
    model: str,
    values: str,
    release: str = "hub",
    namespace: str = "ml",
    metric: str = "demand",
) -> Object:
    """What Prometheus has of one gateway and model, with the labels that a monitor adds."""
    labels = {"namespace": namespace, "app_kubernetes_io_instance": release, "pod": pod}
    labels |= {"pool": pool, "model": model, "version": "1"}
    text = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return {"series": f"inferencehub_gateway_{metric}{{{text}}}", "values": values}


def test_the_rule_asks_for_its_own_release() -> None:
    group, *_ = rules()["groups"]
    (rule,) = group["rules"]
    assert rule["record"] == "inferencehub_demand"
    assert rule["labels"] == {"release": "hub"}
    selector = '{namespace="ml", app_kubernetes_io_instance="hub"}'
    assert f"inferencehub_gateway_demand{selector}" in rule["expr"]


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_the_release_is_a_label_that_monitors_bring(kind: str) -> None:
    name = {"ServiceMonitor": "service-monitor", "PodMonitor": "pod-monitor"}[kind]
    (monitor,) = of_kind(render(COMBINATIONS[name]), kind)
    brought = {"ServiceMonitor": "targetLabels", "PodMonitor": "podTargetLabels"}[kind]
    assert "app.kubernetes.io/instance" in monitor["spec"][brought]


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_native_histograms_come_beside_those_that_rules_ask_for(kind: str) -> None:
    value = kind[0].lower() + kind[1:]
    (without,) = of_kind(render({"monitoring": {value: {"enabled": True}}}), kind)
    assert "convertClassicHistogramsToNHCB" not in without["spec"], "older operators do not know it"
    (monitor,) = of_kind(render({"monitoring": {value: {"enabled": True, "nativeHistograms": True}}}), kind)
    assert monitor["spec"]["convertClassicHistogramsToNHCB"] is True
    assert monitor["spec"]["scrapeClassicHistograms"] is True


@pytest.mark.tools
def test_prometheus_sums_gateways_and_takes_the_busiest_model(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps(rules()))
    test: dict[str, Any] = {
        "rule_files": ["rules.json"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    series("a", "default", "slow", "1.5x8"),
                    # The second gateway ends after a minute.
                    series("b", "default", "slow", "0.75 0.75 0.75 0.75 stale"),
                    series("a", "default", "quick", "2x8"),
                    # Jobs that wait for any gateway: both tell of them.
                    series("a", "default", "slow", "1x8", metric="shared_demand"),
                    series("b", "default", "slow", "1 1 1 1 stale", metric="shared_demand"),
                    series("a", "gpu", "quick", "0x8"),
                    series("a", "default", "slow", "9x8", release="blue"),
                    series("a", "default", "slow", "9x8", namespace="shop"),
                ],
                "promql_expr_test": [
                    {"expr": "inferencehub_demand", "eval_time": time, "exp_samples": samples(default, 0)}
                    for time, default in (("30s", 3.25), ("90s", 2.5))
                ],
            }
        ],
    }
    (tmp_path / "test.json").write_text(json.dumps(test))
    done = subprocess.run(
        [on_path(PROMTOOL), "test", "rules", "test.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def samples(default: float, gpu: float) -> list[Object]:
    """What the rule shall have recorded for both pools."""
    label = 'inferencehub_demand{{namespace="ml", release="hub", pool="{}"}}'
    return [
        {"labels": label.format("default"), "value": default},
        {"labels": label.format("gpu"), "value": gpu},
    ]


def test_the_adapter_shows_what_the_rule_records_by_the_labels_that_are_asked_for() -> None:
    (rule,) = ADAPTER["rules"]["external"]
    (autoscaler,) = of_kind(render(COMBINATIONS["scaled-by-prometheus"]), "HorizontalPodAutoscaler")
    metric = autoscaler["spec"]["metrics"][0]["external"]["metric"]
    assert f'__name__="{metric["name"]}"' in rule["seriesQuery"]
    assert rule["resources"] == {"overrides": {"namespace": {"resource": "namespace"}}}
    for label in (*metric["selector"]["matchLabels"], "namespace"):
        assert f'{label}!=""' in rule["seriesQuery"]
        assert label in rule["metricsQuery"]
