"""A pool that slept and is not to sleep any more: there is always one who starts its first pod.

Kubernetes' autoscaler does nothing while its target has 0 replicas, whatever its smallest number is.
"""

from __future__ import annotations

from typing import Any

import pytest

from inferencehub.core.process.settings import read_settings
from inferencehub.scaler.activator import QUIET_SECONDS, quiet_seconds
from inferencehub.scaler.settings import ScalerSettings
from tests.chart.api_server import api_server
from tests.chart.combinations import ASLEEP, COMBINATIONS
from tests.chart.rendering import (
    Object,
    Values,
    at,
    chart,
    environ,
    helm,
    merge,
    of_kind,
    one,
    read_yaml,
    render,
)

POOL = "hub-inferencehub-inference-{}"
DEMAND = at("inference.autoscaling.source", "demand")
EXISTING = at("inference.autoscaling", {"source": "demand", "demand": {"provider": "existing"}})


def deployment(pool: str, replicas: int) -> Object:
    """A pool's Deployment as the cluster has it."""
    metadata = {"name": POOL.format(pool), "namespace": "ml"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"replicas": replicas},
    }


def upgrade(values: Values, *deployments: Object) -> tuple[list[Object], str]:
    """What an upgrade renders in a cluster that has these Deployments, and its notes."""
    with api_server(*deployments) as server:
        cluster = helm.Config(kube_apiserver=server.url)
        found = cluster.render(chart(), dict(values), name="hub", namespace="ml")
    objects = [thing for path, text in found.items() if path.endswith(".yaml") for thing in read_yaml(text)]
    return objects, next(text for path, text in found.items() if path.endswith("NOTES.txt"))


def targets(objects: list[Object]) -> dict[str, str]:
    """The pools whose first pod the scaler starts; none if there is no scaler."""
    scalers = [
        thing for thing in of_kind(objects, "Deployment") if thing["metadata"]["name"].endswith("-scaler")
    ]
    return {
        pool: deployment
        for thing in scalers
        for pool, deployment in read_settings(ScalerSettings, environ(thing["spec"]["template"]["spec"]))
        .targets()
        .items()
    }


def may_scale(objects: list[Object]) -> set[str]:
    """The Deployments that the scaler may scale."""
    rules = [rule for role in of_kind(objects, "Role") for rule in role["rules"]]
    return {
        name for rule in rules if "deployments/scale" in rule["resources"] for name in rule["resourceNames"]
    }


@pytest.mark.parametrize("name", COMBINATIONS)
def test_where_there_is_a_scaler_it_wakes_every_pool_of_an_autoscaler_of_kubernetes(name: str) -> None:
    objects = render(COMBINATIONS[name])
    scaled = {thing["metadata"]["name"] for thing in of_kind(objects, "HorizontalPodAutoscaler")}
    scaled -= {"hub-inferencehub-gateway"}
    found = targets(objects)
    assert set(found.values()) == may_scale(objects)
    if any(thing["metadata"]["name"].endswith("-scaler") for thing in of_kind(objects, "Deployment")):
        assert may_scale(objects) == scaled


def test_only_a_pool_that_may_sleep_loses_its_last_pod() -> None:
    pools = {
        "default": {"autoscaling": {"source": "demand", "scaleToZero": {**ASLEEP, "quietSeconds": 30}}},
        "cpu": {"autoscaling": {"source": "cpu"}},
        "still": {"autoscaling": {"source": "none"}},
        "keda": {"autoscaling": {"source": "keda"}},
    }
    objects = render(at("inference.pools", pools))
    assert targets(objects) == {pool: POOL.format(pool) for pool in ("cpu", "default")}
    found = {pool: one(objects, "Deployment", f"-{pool}") for pool in pools}
    assert [quiet_seconds(found[pool]) for pool in pools] == [30.0, None, None, None]
    # Who applies the chart under another name than Helm's would remove no annotation that Helm has set.
    assert found["cpu"]["metadata"]["annotations"] == {QUIET_SECONDS: "never"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        at("inference.autoscaling.source", "prometheus"),
        EXISTING,
        merge({}, at("inference.autoscaling.scaleToZero", {**ASLEEP, "enabled": False})),
    ],
    ids=["cpu", "prometheus", "existing", "left-over-values"],
)
def test_a_scaler_stays_while_a_pool_has_no_pods(values: dict[str, Any]) -> None:
    assert targets(render(values)) == {}
    objects, notes = upgrade(values, deployment("default", 0))
    assert targets(objects) == {"default": POOL.format("default")}
    assert may_scale(objects) == {POOL.format("default")}
    assert one(objects, "NetworkPolicy", "-scaler")
    assert not of_kind(objects, "APIService")
    assert not of_kind(objects, "ClusterRole")
    assert f"had no pods when this release was rendered: {POOL.format('default')}." in notes
    # It sets no number of pods: the next upgrade would take that away again.
    assert "replicas" not in one(objects, "Deployment", "-default")["spec"]

    objects, notes = upgrade(values, deployment("default", 1))
    assert targets(objects) == {}
    assert "had no pods" not in notes


def test_a_pool_without_an_autoscaler_keeps_its_number() -> None:
    values = at("inference", {"autoscaling": {"source": "none"}, "replicas": 0})
    objects, _ = upgrade(values, deployment("default", 0))
    assert targets(objects) == {}
    assert one(objects, "Deployment", "-default")["spec"]["replicas"] == 0
