"""What the demo reads from Kubernetes objects, in the form of the API server v1.34."""

from __future__ import annotations

from typing import Any

import pytest
from demo.autoscaler import quantity, reading, usage

UNREAD: dict[str, Any] = {"currentMetrics": None, "currentReplicas": 1}


def hpa(kind: str, target: dict[str, Any], now: dict[str, Any], replicas: int) -> dict[str, Any]:
    """An HorizontalPodAutoscaler with one metric that has been read."""
    return {
        "spec": {"metrics": [{"type": kind, kind.lower(): {"target": target}}]},
        "status": {
            "currentMetrics": [{"type": kind, kind.lower(): {"current": now}}],
            "currentReplicas": replicas,
        },
    }


BY_CPU = hpa("Resource", {"averageUtilization": 70}, {"averageUtilization": 14, "averageValue": "14m"}, 2)
BY_DEMAND = hpa("External", {"averageValue": "700m"}, {"averageValue": "1400m", "value": "0"}, 3)


@pytest.mark.parametrize(("text", "number"), [("12", 12), ("700m", 0.7), ("3145618n", 0.003145618), ("5u", 5e-6), ("1k", 1000)])  # fmt: skip
def test_numbers_of_kubernetes(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


def test_a_reading_of_cpu() -> None:
    over_target, demand = reading(BY_CPU)
    assert over_target == pytest.approx(0.2)
    assert demand is None


def test_a_reading_of_demand_is_that_of_all_pods() -> None:
    over_target, demand = reading(BY_DEMAND)
    assert over_target == pytest.approx(2)
    assert demand == pytest.approx(4.2)


@pytest.mark.parametrize("autoscaler", [BY_CPU, BY_DEMAND])
def test_nothing_read_yet(autoscaler: dict[str, Any]) -> None:
    assert reading({**autoscaler, "status": UNREAD}) == (None, None)
    # An autoscaler that could not read says so with an entry that has no name.
    unknown = {"currentMetrics": [{"type": ""}], "currentReplicas": 1}
    assert reading({**autoscaler, "status": unknown}) == (None, None)


def test_usage_is_the_mean_in_percent_of_the_request() -> None:
    containers = [{"resources": {"requests": {"cpu": "100m"}}}]
    deployment = {"spec": {"template": {"spec": {"containers": containers}}}}
    pods = {"items": [{"containers": [{"usage": {"cpu": used}}]} for used in ("10m", "30000000n")]}
    assert usage(deployment, pods) == pytest.approx(20)
    assert usage(deployment, {"items": []}) is None
    assert usage(deployment, None) is None
