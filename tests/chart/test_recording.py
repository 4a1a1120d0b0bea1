"""Where a gateway records calls, as the chart's values say it, and as gateways read it."""

from __future__ import annotations

from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import environ, render
from tests.chart.test_jobs import gateway


def test_nothing_is_recorded_unless_it_is_asked_for() -> None:
    found = gateway(render())
    assert not read_settings(GatewaySettings, environ(found)).record
    assert "recordings" not in {volume["name"] for volume in found["volumes"]}


def test_recordings_have_a_volume_of_the_pod_that_is_larger_than_they_may_get() -> None:
    found = gateway(render(COMBINATIONS["recording"]))
    settings = read_settings(GatewaySettings, environ(found))
    assert (settings.record, settings.record_share, settings.record_bytes) == ("/recordings", 0.25, 2**30)
    (mount,) = [one for one in found["containers"][0]["volumeMounts"] if one["name"] == "recordings"]
    assert mount == {"name": "recordings", "mountPath": settings.record}
    (volume,) = [one for one in found["volumes"] if one["name"] == "recordings"]
    assert volume["emptyDir"] == {"sizeLimit": str(2**30 + 2**26)}
