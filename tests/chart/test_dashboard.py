"""The dashboard uses only metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from inferencehub.inference.metrics import Metrics as InferenceMetrics
from tests.chart.rendering import CHART, at, of_kind, render
from tests.hub import running_hub

DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def series(family: Metric) -> Iterator[str]:
    """The names under which a metric is asked for."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
    return (family.name + ending for ending in endings)


async def test_it_asks_for_metrics_that_there_are() -> None:
    async with running_hub() as hub:
        await hub.post("/predict", {"text": "good"})
        families = [
            *hub.gateway.metrics.registry.collect(),
            *InferenceMetrics().registry.collect(),
        ]
    known = {name for family in families for name in series(family)}
    asked = {name for text in EXPRESSIONS for name in re.findall(r"inferencehub_\w+", text)}
    assert len(asked) > 12
    assert asked <= known


def test_it_groups_by_labels_that_there_are() -> None:
    labels = {"le", "model", "status", "state", "outcome", "namespace", "reason", "version"}
    for text in EXPRESSIONS:
        for group in re.findall(r"by \(([^)]*)\)", text):
            assert {label.strip() for label in group.split(",")} <= labels


def test_panels_stand_beside_each_other() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_each_release_has_a_dashboard_of_its_own() -> None:
    values = at("monitoring.dashboard.enabled", True)
    found = []
    for release in ("blue", "green"):
        (config_map,) = of_kind(render(values, release), "ConfigMap")
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
        (text,) = config_map["data"].values()
        dashboard = json.loads(text)
        assert dashboard["panels"] == DASHBOARD["panels"]
        assert release in dashboard["title"]
        found.append(dashboard["uid"])
    assert found[0] != found[1]
