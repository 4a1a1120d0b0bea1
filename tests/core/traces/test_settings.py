"""The variables that OpenTelemetry names, as the gateway reads them."""

from __future__ import annotations

import pytest

from inferencehub.core.process.settings import SettingError, read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings

BASE, WHOLE = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, ""),
        ({BASE: "", "OTEL_EXPORTER_OTLP_TIMEOUT": "", "OTEL_SDK_DISABLED": ""}, ""),
        ({BASE: "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({BASE: "https://collector/otlp/"}, "https://collector/otlp/v1/traces"),
        ({BASE: "http://one:4318", WHOLE: "http://two:4318/there"}, "http://two:4318/there"),
        ({BASE: "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_where_traces_go(environ: dict[str, str], url: str) -> None:
    assert read_settings(GatewaySettings, environ).traces_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (BASE, "collector:4318"),
        (BASE, "grpc://collector:4317"),
        (WHOLE, "http://user:secret@collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "name=secret%0d%0a"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Basic secret=="),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret%E2%82%AC"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "endpoint=http://jaeger"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
    ],
)
def test_what_can_not_be_used_stops_the_start_and_is_named_where_there_are_traces(
    name: str, value: str
) -> None:
    on = {BASE: "http://collector:4318", name: value}
    with pytest.raises(SettingError, match=f"^{name} ") as raised:
        read_settings(GatewaySettings, on)
    assert "secret" not in str(raised.value)
    read_settings(GatewaySettings, {**on, "OTEL_SDK_DISABLED": "true"})
    if name not in (BASE, WHOLE):
        read_settings(GatewaySettings, {name: value})


def test_what_was_expected_is_said() -> None:
    expected = "OTEL_EXPORTER_OTLP_COMPRESSION is 'zstd', expected one of none, gzip"
    with pytest.raises(SettingError, match=expected):
        read_settings(GatewaySettings, {BASE: "http://c", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"})


def test_names_that_others_read_are_left_alone() -> None:
    read_settings(GatewaySettings, {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOG_LEVEL": "info"})


def test_headers_are_decoded() -> None:
    environ = {BASE: "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20dXNlcjpw==, x-a=%C3%A9"}
    settings = read_settings(GatewaySettings, environ)
    assert settings.headers() == {"authorization": "Basic dXNlcjpw==", "x-a": "é"}
