"""How many pods: the autoscaler that each source makes, exactly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import Object, at, merge, of_kind, one, render

POOL = "hub-inferencehub-inference-default"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": POOL}
BEHAVIOR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
            {"type": "Pods", "value": 4, "periodSeconds": 15},
        ],
        "selectPolicy": "Max",
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
    },
}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
}


def demand(target: str, pool: str = "default") -> Object:
    """The metric of an autoscaler that counts pods' worth of work."""
    selector = {"matchLabels": {"release": "hub", "pool": pool}}
    return {
        "type": "External",
        "external": {
            "metric": {"name": "inferencehub_demand", "selector": selector},
            "target": {"type": "AverageValue", "averageValue": target},
        },
    }


def scaling(**values: Any) -> dict[str, Any]:
    """Values of the inference tier's autoscaling."""
    return at("inference.autoscaling", values)


@pytest.mark.parametrize(
    ("values", "metric"),
    [
        ({}, CPU),
        (scaling(source="cpu", targetDemand=10), CPU),
        (scaling(source="demand"), demand("700m")),
        (scaling(source="prometheus"), demand("700m")),
        (scaling(source="demand", targetDemand=100), demand("1000m")),
        (scaling(source="demand", targetDemand=7), demand("70m")),
    ],
)
def test_each_source_makes_this_autoscaler(values: dict[str, Any], metric: Object) -> None:
    (autoscaler,) = of_kind(render(values), "HorizontalPodAutoscaler")
    assert autoscaler["metadata"]["name"] == POOL
    assert autoscaler["spec"] == {
        "scaleTargetRef": TARGET,
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [metric],
        "behavior": BEHAVIOR,
    }


def test_none_is_as_many_pods_as_replicas() -> None:
    objects = render(merge(scaling(source="none"), at("inference.replicas", 3)))
    assert of_kind(objects, "HorizontalPodAutoscaler") == []
    assert one(objects, "Deployment", "default")["spec"]["replicas"] == 3


@pytest.mark.parametrize("name", COMBINATIONS)
def test_autoscalers_own_the_number_of_pods(name: str) -> None:
    objects = render(COMBINATIONS[name])
    autoscalers = of_kind(objects, "HorizontalPodAutoscaler") + of_kind(objects, "ScaledObject")
    scaled = [thing["spec"]["scaleTargetRef"]["name"] for thing in autoscalers]
    deployments = {thing["metadata"]["name"]: thing for thing in of_kind(objects, "Deployment")}
    assert set(scaled) <= deployments.keys()
    assert len(scaled) == len(set(scaled))
    for deployment, thing in deployments.items():
        assert ("replicas" in thing["spec"]) == (deployment not in scaled)
        if deployment in scaled:
            container = thing["spec"]["template"]["spec"]["containers"][0]
            assert "cpu" in container["resources"]["requests"]
    for thing in of_kind(objects, "HorizontalPodAutoscaler"):
        assert thing["spec"]["minReplicas"] >= 1


@pytest.mark.parametrize(
    ("replicas", "least", "expected"), [(1, None, 1), (3, None, 3), (3, 2, 2), (0, 2, 2)]
)
def test_the_least_is_replicas_unless_it_is_said(replicas: int, least: int | None, expected: int) -> None:
    values = merge(scaling(minReplicas=least), at("inference.replicas", replicas))
    (autoscaler,) = of_kind(render(values), "HorizontalPodAutoscaler")
    assert autoscaler["spec"]["minReplicas"] == expected


def test_each_pool_is_scaled_by_its_own_values() -> None:
    pools = {
        "default": {},
        "big": {"autoscaling": {"maxReplicas": 7, "targetCPU": 40}},
        "gpu": {"autoscaling": {"source": "demand"}},
        "still": {"autoscaling": {"source": "none"}},
    }
    autoscalers = of_kind(render(at("inference.pools", pools)), "HorizontalPodAutoscaler")
    found = {thing["metadata"]["name"].rpartition("-")[2]: thing["spec"] for thing in autoscalers}
    assert {pool: spec["maxReplicas"] for pool, spec in found.items()} == {
        "default": 10,
        "big": 7,
        "gpu": 10,
    }
    target = found["big"]["metrics"][0]["resource"]
    assert target == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 40}}
    assert found["gpu"]["metrics"] == [demand("700m", "gpu")]
