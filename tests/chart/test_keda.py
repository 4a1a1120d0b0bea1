"""KEDA's ScaledObject: its exact content, and that KEDA accepts it.

KEDA can't be installed here. SPEC has the fields of its CRD (kedacore/charts, keda/templates/crds/crd-scaledobjects.yaml) as
far as they are used, without those that versions before 2.8 lack; METADATA the parameters of its scaler metrics-api
(keda.sh/docs/2.8/scalers/metrics-api).
"""

from __future__ import annotations

import json
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema  # type: ignore[import-untyped]
import pytest

from inferencehub.core.process.ops_port import Asked
from inferencehub.core.values.demand import ModelDemand, Report
from inferencehub.scaler.demand.gateways import Release
from inferencehub.scaler.demand.page import demand_page
from inferencehub.scaler.demand.total import Total
from tests.chart.combinations import ASLEEP, COMBINATIONS
from tests.chart.rendering import Object, at, merge, of_kind, one, render

INTEGER = {"type": "integer"}
TEXT = {"type": "string"}


def closed(properties: Object, *required: str) -> Object:
    """A schema of an object with these fields and no other; a cluster refuses or drops what it does not know."""
    shape = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, "required": list(required)}


POLICIES = {
    "type": "array",
    "items": closed(
        {"type": TEXT, "value": INTEGER, "periodSeconds": INTEGER}, "type", "value", "periodSeconds"
    ),
}
DIRECTION = closed({"stabilizationWindowSeconds": INTEGER, "selectPolicy": TEXT, "policies": POLICIES})
METADATA = closed(
    dict.fromkeys(("url", "valueLocation", "targetValue", "activationTargetValue", "authMode"), TEXT),
    "url",
    "valueLocation",
    "targetValue",
)
SPEC = closed(
    {
        "scaleTargetRef": closed({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}, "name"),
        "pollingInterval": INTEGER,
        "cooldownPeriod": INTEGER,
        "idleReplicaCount": INTEGER,
        "minReplicaCount": INTEGER,
        "maxReplicaCount": INTEGER,
        "advanced": closed(
            {
                "horizontalPodAutoscalerConfig": closed(
                    {"behavior": closed({"scaleUp": DIRECTION, "scaleDown": DIRECTION})}
                )
            }
        ),
        "triggers": {
            "type": "array",
            "items": closed(
                {
                    "type": TEXT,
                    "metadata": METADATA,
                    "metricType": TEXT,
                    "authenticationRef": closed({"name": TEXT}, "name"),
                },
                "type",
                "metadata",
            ),
        },
    },
    "scaleTargetRef",
    "triggers",
)


def scaled(**values: Any) -> Object:
    """The spec of the ScaledObject that these values of autoscaling make."""
    (found,) = of_kind(render(at("inference.autoscaling", {"source": "keda", **values})), "ScaledObject")
    assert found["apiVersion"] == "keda.sh/v1alpha1"
    spec: Object = found["spec"]
    return spec


@pytest.mark.parametrize("name", COMBINATIONS)
def test_keda_takes_it(name: str) -> None:
    for thing in of_kind(render(COMBINATIONS[name]), "ScaledObject"):
        jsonschema.validate(thing["spec"], SPEC)


def test_a_field_that_keda_lacks_would_be_seen() -> None:
    spec = scaled()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**spec, "minReplicas": 1}, SPEC)


def test_it_says_this() -> None:
    spec = scaled()
    name = "hub-inferencehub-inference-default"
    url = "http://hub-inferencehub-scaler.ml.svc:9090/demand?namespace=ml&release=hub&pool=default"
    behavior = spec.pop("advanced")["horizontalPodAutoscalerConfig"]["behavior"]
    (autoscaler,) = of_kind(render({}), "HorizontalPodAutoscaler")
    assert behavior == autoscaler["spec"]["behavior"]
    assert spec == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "pollingInterval": 5,
        "minReplicaCount": 1,
        "maxReplicaCount": 10,
        "triggers": [
            {
                "type": "metrics-api",
                "metricType": "AverageValue",
                "metadata": {
                    "url": url,
                    "valueLocation": "demand",
                    "targetValue": "0.7",
                    "activationTargetValue": "0",
                },
            }
        ],
    }


def test_where_it_asks_there_is_the_scaler() -> None:
    objects = render(COMBINATIONS["scaled-by-keda"], "blue", "shop")
    (found,) = of_kind(objects, "ScaledObject")
    url = urlsplit(found["spec"]["triggers"][0]["metadata"]["url"])
    service = one(objects, "Service", "-scaler")
    assert url.hostname == f"{service['metadata']['name']}.shop.svc"
    assert url.port in [port["port"] for port in service["spec"]["ports"]]
    assert parse_qs(url.query) == {"namespace": ["shop"], "release": ["blue"], "pool": ["default"]}


def test_what_keda_reads_there_is_the_demand_and_503_where_it_is_not_known() -> None:
    (found,) = of_kind(render(COMBINATIONS["scaled-by-keda"]), "ScaledObject")
    metadata = found["spec"]["triggers"][0]["metadata"]
    url = urlsplit(metadata["url"])
    total = Total()
    report = Report(1.0, [ModelDemand("default", "slow", "1", running=6.0, queued=3.0, slots=4)])
    totals: dict[Release, Total] = {}
    page = demand_page(totals, "elsewhere")
    asked = Asked(url.query.encode(), "", "")
    assert page(asked)[0] == 503
    totals[Release("ml", "hub")] = total
    now = monotonic()
    for second in range(6):
        total.add(now - 5 + second, 1, 1, [report])
    status, _, body = page(asked)
    assert status == 200
    # KEDA takes a number of the top level by this name, else it counts the call as failed.
    assert json.loads(body)[metadata["valueLocation"]] == 2.25


@pytest.mark.parametrize(("percent", "target"), [(100, "1"), (70, "0.7"), (29, "0.29"), (7, "0.07")])
def test_the_target_is_the_share_of_slots(percent: int, target: str) -> None:
    assert scaled(targetDemand=percent)["triggers"][0]["metadata"]["targetValue"] == target


@pytest.mark.parametrize(
    ("least", "counts"),
    [
        (None, {"minReplicaCount": 0}),
        (1, {"minReplicaCount": 0}),
        (3, {"minReplicaCount": 3, "idleReplicaCount": 0}),
    ],
)
def test_asleep_it_has_no_pod_and_awake_the_least(least: int | None, counts: Object) -> None:
    spec = scaled(minReplicas=least, scaleToZero={**ASLEEP, "quietSeconds": 45})
    assert spec["cooldownPeriod"] == 45
    assert {key: spec[key] for key in ("minReplicaCount", "idleReplicaCount") if key in spec} == counts


@pytest.mark.parametrize("name", COMBINATIONS)
def test_there_is_no_fallback_to_a_number_of_pods(name: str) -> None:
    """KEDA cuts the target to a whole number before it multiplies: 0 of 0.7, so a fallback would end all pods."""
    assert "fallback" not in json.dumps(of_kind(render(COMBINATIONS[name]), "ScaledObject"))


def test_keda_and_others_stand_beside_each_other() -> None:
    pools = {"default": {}, "gpu": {"autoscaling": {"source": "demand"}}}
    values = merge(at("inference.pools", pools), at("inference.autoscaling.source", "keda"))
    objects = render(values)
    assert [thing["metadata"]["name"] for thing in of_kind(objects, "ScaledObject")] == [
        "hub-inferencehub-inference-default"
    ]
    assert [thing["metadata"]["name"] for thing in of_kind(objects, "HorizontalPodAutoscaler")] == [
        "hub-inferencehub-inference-gpu"
    ]
