"""Pods whose models call others through a gateway that speaks TLS: what they expect of it, and what they show."""

from __future__ import annotations

from typing import Any

from inferencehub.core.process.settings import read_settings
from inferencehub.inference.settings import InferenceSettings
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, environ, merge, one, render

SECURE = {
    "inference": {"modelCalls": {"enabled": True}},
    "tls": {"callers": {"existingSecret": "callers"}},
}


def pod_of(values: dict[str, Any]) -> tuple[InferenceSettings, list[dict[str, Any]]]:
    """The settings of inference pods, and where the files for TLS are from."""
    pod = one(render(values, namespace="ml"), "Deployment", "default")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "gateway-tls"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "gateway-tls"]
    assert (volume["projected"]["defaultMode"], mount["readOnly"]) == (0o400, True)
    assert "subPath" not in mount, "such a file would never change"
    settings = read_settings(InferenceSettings, environ(pod))
    assert settings.gateway_tls_ca == f"{mount['mountPath']}/ca.crt"
    return settings, volume["projected"]["sources"]


def source(secret: str, *files: str) -> dict[str, Any]:
    return {"secret": {"name": secret, "items": [{"key": file, "path": file} for file in files]}}


def test_pods_get_the_authorities_of_the_gateways_secret_and_not_its_key() -> None:
    settings, sources = pod_of(SECURE)
    assert sources == [source("callers", "ca.crt")]
    assert not settings.gateway_tls_server_name
    assert settings.gateway.startswith("hub-inferencehub-gateway.ml.svc.cluster.local:")


def test_pods_expect_the_name_that_cert_manager_signs() -> None:
    values = COMBINATIONS["model-calls-by-tls"]
    settings, sources = pod_of(values)
    made = one(render(values), "Certificate", "-callers-tls")["spec"]
    assert sources == [source(made["secretName"], "ca.crt")]
    assert settings.gateway_tls_server_name == "hub.example.com"
    assert settings.gateway_tls_server_name in made["dnsNames"]
    named = merge(values, at("inference.modelCalls.serverName", "mine.example.com"))
    assert pod_of(named)[0].gateway_tls_server_name == "mine.example.com"


def test_pods_show_a_certificate_where_callers_must() -> None:
    settings, sources = pod_of(COMBINATIONS["model-calls-by-certificate"])
    authorities = {"configMap": {"name": "authorities", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    assert sources == [authorities, source("pods", "tls.crt", "tls.key")]
    directory = settings.gateway_tls_ca.removesuffix("/ca.crt")
    shown = [settings.gateway_tls_cert, settings.gateway_tls_key]
    assert shown == [f"{directory}/tls.crt", f"{directory}/tls.key"]
    assert (settings.gateway_tls_server_name, settings.gateway_key) == ("hub.example.com", "")


def test_pools_whose_models_call_nobody_get_no_files() -> None:
    values = merge(SECURE, at("inference.pools.gpu.modelCalls.enabled", False))
    pod = one(render(values), "Deployment", "gpu")["spec"]["template"]["spec"]
    assert "gateway-tls" not in [volume["name"] for volume in pod["volumes"]]
    assert not [name for name in environ(pod) if name.startswith("HUB_GATEWAY")]
