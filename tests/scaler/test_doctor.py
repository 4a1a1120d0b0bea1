"""What the doctor of a scaler says of Kubernetes, its rights there, autoscalers and gateways."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

import pytest

from inferencehub.core.process.doctor.finding import Level
from inferencehub.scaler.doctor.autoscalers import of_autoscaler
from inferencehub.scaler.metrics_api.registration import APISERVICE
from tests.authority import Authority
from tests.doctors import one, report_at
from tests.hub import eventually
from tests.ports import free_port
from tests.scaler.kubernetes import Kubernetes, Object
from tests.scaler.test_server import cluster, running

HPAS = "/apis/autoscaling/v2/namespaces/prod/horizontalpodautoscalers"
MINE = {"app.kubernetes.io/instance": "hub"}


@pytest.fixture
def caller(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "cluster")


def autoscaler(server: Kubernetes, name: str, **conditions: tuple[str, str]) -> None:
    """An autoscaler of the release with conditions: their status and reason."""
    server.write(f"{HPAS}/{name}", hpa(name, conditions))


def hpa(name: str, conditions: Mapping[str, tuple[str, str]], age_s: float = 3600.0) -> Object:
    listed = [
        {"type": kind, "status": status, "reason": reason, "message": f"because of {reason}"}
        for kind, (status, reason) in conditions.items()
    ]
    status = {"currentReplicas": 3, "conditions": listed}
    made = datetime.fromtimestamp(time() - age_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": name, "labels": MINE, "creationTimestamp": made}
    return {"metadata": metadata, "spec": {"maxReplicas": 5}, "status": status}


def gateway(server: Kubernetes, port: int) -> None:
    """A gateway of the release, as an EndpointSlice has it."""
    labels = {"inferencehub/demand": "true", **MINE}
    server.write(
        "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices/hub",
        {
            "metadata": {"labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "ops", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        },
    )


async def test_what_is_missing_in_the_cluster(tmp_path: Path, caller: Authority) -> None:
    async with cluster(tmp_path, caller) as server:
        autoscaler(
            server, "blind", AbleToScale=("True", ""), ScalingActive=("False", "FailedGetResourceMetric")
        )
        autoscaler(server, "full", ScalingActive=("True", ""), ScalingLimited=("True", "TooManyReplicas"))
        autoscaler(server, "fine", ScalingActive=("True", "ValidMetricFound"))
        server.denied = {("patch", "deployments"), ("patch", "apiservices")}
        server.write("/version", {"gitVersion": "v1.34.4"})
        api = server.objects[APISERVICE]
        gone = {
            "type": "Available",
            "status": "False",
            "reason": "FailedDiscoveryCheck",
            "message": "no route",
        }
        server.write(APISERVICE, {**api, "status": {"conditions": [gone]}})
        async with running(server, activate=("default=hub-default",)) as scaler:
            await eventually(lambda: scaler.gateways.known is not None)
            report = await report_at(scaler.ops.port)
    assert "FailedGetResourceMetric" in one(report.findings, "autoscaler blind").seen
    assert "metrics-server" in one(report.findings, "autoscaler blind").fix
    assert "5 pods" in one(report.findings, "autoscaler full", Level.WARNING).seen
    one(report.findings, "autoscaler fine", Level.OK)
    missing = one(report.findings, "rights").seen
    assert "patch deployments/scale hub-default in namespace prod" in missing
    assert "patch apiservices v1beta1.external.metrics.k8s.io" in missing
    assert "no route" in one(report.findings, "metrics API").seen
    assert "there is none of release prod/hub" in one(report.findings, "gateways").seen
    one(report.findings, "Kubernetes", Level.OK)
    one(report.findings, "clock", Level.OK)


async def test_a_gateway_that_does_not_answer(tmp_path: Path, caller: Authority) -> None:
    port = free_port()
    async with cluster(tmp_path, caller) as server:
        gateway(server, port)
        async with running(server) as scaler:
            await eventually(lambda: scaler.gateways.silent)
            report = await report_at(scaler.ops.port)
    assert f"127.0.0.1:{port}" in one(report.findings, "gateways").seen


async def test_rights_that_were_taken_away(tmp_path: Path, caller: Authority) -> None:
    async with cluster(tmp_path, caller) as server:
        server.denied = {("list", "endpointslices"), ("list", "horizontalpodautoscalers")}
        async with running(server) as scaler:
            report = await report_at(scaler.ops.port)
    assert one(report.findings, "rights").seen.endswith("may not: list endpointslices in namespace prod")
    assert one(report.findings, "gateways").seen == "it does not know which gateways there are"
    one(report.findings, "autoscalers", Level.WARNING)


async def test_kubernetes_does_not_answer(tmp_path: Path, caller: Authority) -> None:
    async with cluster(tmp_path, caller) as server, running(server) as scaler:
        await server.stop()
        report = await report_at(scaler.ops.port)
    assert "does not answer" in one(report.findings, "Kubernetes").seen
    assert [found.level for found in report.findings if found.what == "Kubernetes"] == [Level.FAULT]


@pytest.mark.parametrize(
    ("conditions", "level"),
    [
        ({}, Level.WARNING),
        ({"AbleToScale": ("False", "FailedGetScale")}, Level.FAULT),
        ({"ScalingActive": ("False", "FailedGetExternalMetric")}, Level.FAULT),
        ({"ScalingActive": ("False", "ScalingDisabled")}, Level.OK),
        ({"ScalingActive": ("True", ""), "ScalingLimited": ("True", "TooFewReplicas")}, Level.OK),
    ],
)
def test_an_autoscaler_by_its_conditions(conditions: dict[str, Any], level: Level) -> None:
    (found,) = of_autoscaler(hpa("pool", conditions))
    assert found.level is level


@pytest.mark.parametrize(("age_s", "level"), [(20, Level.WARNING), (100, Level.FAULT)])
def test_a_new_autoscaler_has_a_minute_for_its_first_metric(age_s: float, level: Level) -> None:
    (found,) = of_autoscaler(hpa("pool", {"ScalingActive": ("False", "FailedGetResourceMetric")}, age_s))
    assert found.level is level
    assert "it has no metric" in found.seen
    assert "FailedGetResourceMetric" in found.seen
