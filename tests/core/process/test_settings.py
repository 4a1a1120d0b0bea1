"""Settings from the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

import pytest

from inferencehub.core.process.settings import (
    SettingError,
    TierSettings,
    read_settings,
    refuse_unknown,
    setting,
    variables,
)
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings


@dataclass(frozen=True, slots=True)
class Sample(TierSettings):
    """One field of each kind beside those of every tier."""

    port: int = setting(7, "a port", env="PORT", least=0, most=65535)
    wait_s: float = setting(1.5, "a time", least=0.1)
    names: tuple[str, ...] = setting(("a", "b"), "names")


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings(Sample, {}) == Sample()
    assert Sample().queue_bytes == 256 * 2**20


def test_each_kind_of_value_is_read() -> None:
    environ = {
        "PORT": "0",
        "HUB_WAIT_S": "0.25",
        "HUB_NAMES": " x, y ,,z ",
        "HUB_ACCESS_LOG": "False",
        "HUB_LOG_FORMAT": "human",
        "HUB_DEFAULT_MODEL": "digits",
        "HUB_MAX_TIMEOUT_MS": "30000",
        "PATH": "not ours",
    }
    read = read_settings(Sample, environ)
    assert (read.port, read.wait_s, read.names) == (0, 0.25, ("x", "y", "z"))
    assert (read.access_log, read.log_format, read.default_model) == (False, "human", "digits")
    assert read.max_timeout_ms == 30_000
    assert read_settings(Sample, {"HUB_NAMES": ""}).names == ()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "65536", "PORT is 65536, expected 0 to 65535"),
        ("PORT", "-1", "PORT is -1, expected 0 to 65535"),
        ("PORT", "http", "PORT is 'http', expected a whole number"),
        ("PORT", "80.5", "PORT is '80.5', expected a whole number"),
        ("PORT", "", "PORT is '', expected a whole number"),
        ("HUB_WAIT_S", "soon", "HUB_WAIT_S is 'soon', expected a number"),
        ("HUB_WAIT_S", "0", "HUB_WAIT_S is 0, expected 0.1 or more"),
        ("HUB_WAIT_S", "nan", "HUB_WAIT_S is nan, expected 0.1 or more"),
        ("HUB_DRAIN_WAIT_S", "601", "HUB_DRAIN_WAIT_S is 601, expected 0 to 600"),
        ("HUB_LOG_FORMAT", "xml", "HUB_LOG_FORMAT is 'xml', expected one of json, human"),
        ("HUB_ACCESS_LOG", "maybe", "HUB_ACCESS_LOG is 'maybe', expected true or false"),
    ],
)
def test_a_value_that_will_not_do_is_named(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(sentence)}$"):
        read_settings(Sample, {name: value})


@pytest.mark.parametrize(
    "name",
    [
        "HUB_PROT",
        "HUB_OPSS_PORT",
        "HUB_PORT",
        "HUB_",
        "HUB_LOG_FORMATS",
        "HUB_SERVICE",
        "HUB_SERVICE_HOSTS",
        "HUB_REPORT",
        "HUB_PORTS",
    ],
)
def test_a_name_that_no_field_has_is_refused(name: str) -> None:
    with pytest.raises(
        SettingError, match=f"^{name} is no setting; expected one of HUB_ACCESS_LOG, .*, PORT$"
    ):
        read_settings(Sample, {name: "1"})


# What a Service "hub", "hub-gateway" or "hub-gateway-2" with a named port makes in each pod of its namespace.
LINKS = [
    f"HUB_{service}{end}"
    for service in ("", "GATEWAY_", "GATEWAY_2_")
    for end in (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_80_TCP",
        "PORT_80_TCP_PROTO",
        "PORT_80_TCP_PORT",
        "PORT_80_TCP_ADDR",
        "PORT_53_UDP",
    )
]


@pytest.mark.parametrize("name", [*LINKS, "HUB_INFERENCE_SERVICE_HOST"])
def test_what_kubernetes_makes_for_services_is_no_setting(name: str) -> None:
    value = "tcp://10.0.0.1:80" if name.endswith("PORT") or "_PORT_" in name else "10.0.0.1"
    assert read_settings(Sample, {name: value}) == Sample()


def test_a_service_that_is_called_like_a_setting_does_not_stop_the_start() -> None:
    assert read_settings(GatewaySettings, {"HUB_OPS_PORT": "tcp://10.0.0.1:9090"}) == GatewaySettings()


def test_other_prefixes_are_not_ours() -> None:
    refuse_unknown(dict.fromkeys(["HOME", "XHUB_PROT", "hub_prot"], "1"), ["HUB_LOG_FORMAT"])


@pytest.mark.parametrize("tier", [GatewaySettings, InferenceSettings])
def test_every_setting_of_a_tier_has_a_text_and_a_default_that_will_do(tier: type[Any]) -> None:
    default = tier()
    for name, field in variables(tier):
        rules, value = field.metadata, getattr(default, field.name)
        assert rules["text"], name
        if rules["choices"]:
            assert value in rules["choices"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert rules["least"] is not None, f"{name} has no least value"
            assert rules["least"] <= value <= (rules["most"] or value)
    assert len(dict(variables(tier))) == len(fields(tier)), "two fields read one variable"


@pytest.mark.parametrize(
    ("targets", "word"),
    [
        ("inference", "'inference', expected host:port"),
        ("a:1,b", "'b', expected host:port"),
        (":50051", "':50051', expected host:port"),
        ("a:0", "'a:0', expected host:port"),
        ("a:65536", "'a:65536', expected host:port"),
        ("a:http", "'a:http', expected host:port"),
        ("", "is empty, expected host:port"),
    ],
)
def test_backends_have_a_host_and_a_port(targets: str, word: str) -> None:
    with pytest.raises(SettingError, match=f"^GRPC_SERVER_URL .*{word}"):
        read_settings(GatewaySettings, {"GRPC_SERVER_URL": targets})


def test_backends_are_listed_with_commas() -> None:
    read = read_settings(GatewaySettings, {"GRPC_SERVER_URL": "a:1, [::1]:2"})
    assert read.backends == ("a:1", "[::1]:2")
