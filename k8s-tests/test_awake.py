"""A pool that sleeps while the values change: whatever they were before, one who starts its first pod is there."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

import pytest
from cluster import CHART, KIND_VALUES, Release, eventually, release, run
from demand import replicas, values

ZERO = {"enabled": True, "quietSeconds": 3, "models": {"v1-mock": {"slots": 4}}}
EXISTING = {"provider": "existing"}
SCALER = "hub-inferencehub-scaler"


def chosen(**autoscaling: Any) -> dict[str, Any]:
    """The scale demo's values with these for its autoscaler."""
    return values(minReplicas=1, maxReplicas=2, **autoscaling)


def upgraded(hub: Release, after: dict[str, Any]) -> None:
    """As people with Helm do it."""
    hub.deploy(after)


def applied(hub: Release, after: dict[str, Any]) -> None:
    """As tools do it that render without a cluster, such as Argo CD."""
    version = json.loads(run("kubectl", "version", "-o", "json"))["serverVersion"]["gitVersion"]
    where = ("--namespace", hub.namespace, "--kube-version", version)
    files = ("--values", str(KIND_VALUES), "--values", "-")
    text = run(
        "helm", "template", hub.name, str(CHART), "--no-hooks", *where, *files, stdin=json.dumps(after)
    )
    run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


@pytest.mark.parametrize(
    ("before", "after", "change", "scaler"),
    [
        (chosen(scaleToZero=ZERO), chosen(), upgraded, True),
        (chosen(scaleToZero=ZERO), chosen(), applied, True),
        (chosen(scaleToZero=ZERO, demand=EXISTING), chosen(demand=EXISTING), upgraded, False),
        (chosen(scaleToZero=ZERO, demand=EXISTING), chosen(source="cpu"), upgraded, False),
    ],
    ids=["demand", "demand-without-lookup", "demand-of-others", "cpu"],
)
def test_a_pool_that_is_not_to_sleep_any_more_wakes(
    before: dict[str, Any], after: dict[str, Any], change: Any, scaler: bool, figure: Any
) -> None:
    with release(before, "hub-awake") as hub:
        slept = eventually(lambda: replicas(hub) == (0, 0) and not hub.pods("inference"), "no pod", 120)
        began = monotonic()
        change(hub, after)
        changed = monotonic() - began
        ready = changed + eventually(lambda: replicas(hub)[1] > 0, "a pod is ready", 90)
        figure(f"asleep after {slept:.0f} s; changed within {changed:.0f} s, a pod ready after {ready:.0f} s")
        if change is upgraded:
            hub.deploy(after)
            assert replicas(hub)[0] > 0, "the next upgrade leaves it awake"
            assert (SCALER in hub.kubectl("get", "deployments", "-o", "name")) == scaler
