"""Where traces go, as the chart's values say it, and as gateways read it."""

from __future__ import annotations

import pytest

from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, environ, render
from tests.chart.test_jobs import egress, gateway


def test_there_are_none_without_an_endpoint() -> None:
    objects = render()
    assert not read_settings(GatewaySettings, environ(gateway(objects))).traces_url


def test_a_gateway_reads_what_the_values_say_and_may_reach_the_collector() -> None:
    objects = render(COMBINATIONS["tracing"])
    found = gateway(objects)
    settings = read_settings(GatewaySettings, environ(found))
    assert settings.traces_url == "http://collector.observability.svc:4318/v1/traces"
    assert (settings.traces_sampler, settings.traces_sampler_arg) == ("parentbased_traceidratio", "0.25")
    assert settings.trace_slow_ms == 5000
    (headers,) = [one for one in found["containers"][0]["env"] if one["name"] == "OTEL_EXPORTER_OTLP_HEADERS"]
    assert headers["valueFrom"]["secretKeyRef"] == {"name": "collector", "key": "headers"}
    (rule,) = egress(objects, 4318)
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "observability"
    }


@pytest.mark.parametrize(("url", "port"), [("https://collector/otlp", 443), ("http://collector", 80)])
def test_a_url_without_a_port_has_that_of_its_scheme(url: str, port: int) -> None:
    (rule,) = egress(render(at("tracing.endpoint", url)), port)
    assert "to" not in rule
