"""Limits in the chart's values: what a gateway reads of them is what they say."""

from __future__ import annotations

from pathlib import Path

from inferencehub.core.auth.limits import Limits
from inferencehub.core.auth.limits_file import LimitsFile
from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import environ, one, render


def test_the_gateway_reads_the_limits_in_the_values(tmp_path: Path) -> None:
    objects = render(COMBINATIONS["limits"])
    pod = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "limits"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "limits"]
    assert "subPath" not in mount, "such a file would never change"
    settings = read_settings(GatewaySettings, environ(pod))
    assert settings.limits == f"{mount['mountPath']}/limits.json"
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1")
    assert settings.gateways
    written = one(objects, "ConfigMap", "-limits")
    assert volume["configMap"]["name"] == written["metadata"]["name"]
    file = tmp_path / "limits.json"
    file.write_text(written["data"]["limits.json"])
    limits = LimitsFile(str(file), "HUB_LIMITS")
    assert limits.tenants.of("search") == Limits(rate=0.5, burst=1, concurrency=50, body_bytes=1_000_000)
    assert limits.tenants.of("ads") == Limits(rate=1e6, burst=1_000_000)
    assert limits.models.of("v1-mock") == Limits(rows=5000, rows_burst=100_000)
    (written,) = [
        one
        for one in render(COMBINATIONS["limits-of-addresses"])
        if one["metadata"]["name"].endswith("-limits")
    ]
    file.write_text(written["data"]["limits.json"])
    assert LimitsFile(str(file), "HUB_LIMITS").addresses == Limits(rate=5, burst=20)
    plain = one(render(), "Deployment", "gateway")["spec"]["template"]["spec"]
    assert not read_settings(GatewaySettings, environ(plain)).limits


def test_quotas_of_a_day_are_numbers_as_they_were_written(tmp_path: Path) -> None:
    objects = render(COMBINATIONS["quotas"])
    file = tmp_path / "limits.json"
    file.write_text(one(objects, "ConfigMap", "-limits")["data"]["limits.json"])
    limits = LimitsFile(str(file), "HUB_LIMITS").tenants.of("search")
    assert limits == Limits(calls_per_day=10**9, rows_per_day=10**12, daily=True)
    pod = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    assert read_settings(GatewaySettings, environ(pod)).quotas_fail_open
    other = one(render(COMBINATIONS["jobs"]), "Deployment", "gateway")["spec"]["template"]["spec"]
    assert not read_settings(GatewaySettings, environ(other)).quotas_fail_open
