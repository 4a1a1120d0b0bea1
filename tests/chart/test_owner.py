"""One Service in a cluster serves the external metrics: the chart does not replace another one, and names it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.api_server import ApiServer, api_server
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import Values, at, chart, helm

NAME = "v1beta1.external.metrics.k8s.io"
DEMAND = at("inference.autoscaling.source", "demand")


def api_service(namespace: str, service: str, release: tuple[str, str] | None = None) -> dict[str, Any]:
    """An APIService as a cluster has it; release is the name and namespace of the Helm release that made it."""
    notes = {}
    if release is not None:
        notes = {"meta.helm.sh/release-name": release[0], "meta.helm.sh/release-namespace": release[1]}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": NAME, "annotations": notes},
        "spec": {"service": {"namespace": namespace, "name": service}},
    }


def install(values: Values, server: ApiServer, release: str = "hub", namespace: str = "ml") -> dict[str, str]:
    """What is rendered for a cluster."""
    cluster = helm.Config(kube_apiserver=server.url)
    found: dict[str, str] = cluster.render(chart(), dict(values), name=release, namespace=namespace)
    return found


def test_a_free_api_is_taken() -> None:
    with api_server() as server:
        assert "kind: APIService" in "".join(install(DEMAND, server).values())
    assert any(NAME in path for path in server.asked)


def test_an_upgrade_keeps_its_own() -> None:
    with api_server(api_service("ml", "hub-inferencehub-scaler", ("hub", "ml"))) as server:
        assert install(DEMAND, server)


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (
            api_service("keda", "keda-operator-metrics-apiserver"),
            "keda/keda-operator-metrics-apiserver already",
        ),
        (api_service("monitoring", "adapter", ("adapter", "monitoring")), "monitoring/adapter already"),
        (api_service("shop", "hub-inferencehub-scaler", ("hub", "shop")), "demand.provider to existing"),
        (api_service("ml", "blue-inferencehub-scaler", ("blue", "ml")), f"kubectl delete apiservice {NAME}"),
        (api_service("other", "x"), "inference.autoscaling.source to keda, prometheus or cpu"),
    ],
)
def test_another_owner_is_named_with_the_ways_out(owner: dict[str, Any], said: str) -> None:
    with api_server(owner) as server, pytest.raises(helm.HelmError) as refusal:
        install(DEMAND, server)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        at("inference.autoscaling.source", "keda"),
        at("inference.autoscaling.source", "prometheus"),
        COMBINATIONS["scaled-by-demand-of-others"],
    ],
)
def test_a_release_that_serves_no_api_does_not_look_for_one(values: Values) -> None:
    with api_server(api_service("keda", "keda-operator-metrics-apiserver")) as server:
        assert install(values, server)
    assert not [path for path in server.asked if NAME in path]
