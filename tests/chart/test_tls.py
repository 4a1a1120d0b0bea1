"""TLS by the chart: what the settings say, where the files lie, and what is said to who installs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings
from inferencehub.scaler.settings import Kept, ScalerSettings
from tests.authority import Authority, Secret
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, environ, helm, merge, of_kind, one, render, texts
from tests.chart.test_release_test import run
from tests.hub import MODELS, running_hub

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
SECURE = at("tls.callers.existingSecret", "gateway-tls")


def test_a_gateway_without_a_secret_has_no_files_and_speaks_in_plain() -> None:
    pod = one(render(), "Deployment", "gateway")["spec"]["template"]["spec"]
    assert not read_settings(GatewaySettings, environ(pod)).tls_cert
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    ports = one(render(), "Service", "gateway")["spec"]["ports"]
    assert [port["appProtocol"] for port in ports] == ["http", "kubernetes.io/h2c"]


def test_the_settings_name_files_of_the_mounted_secret() -> None:
    objects = render(SECURE)
    pod = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    settings = read_settings(GatewaySettings, environ(pod))
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "tls"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "tls"]
    assert volume["secret"]["secretName"] == "gateway-tls"
    assert "subPath" not in mount, "such a file would never change"
    assert [settings.tls_cert, settings.tls_key] == [
        f"{mount['mountPath']}/tls.crt",
        f"{mount['mountPath']}/tls.key",
    ]
    ports = one(objects, "Service", "gateway")["spec"]["ports"]
    assert [port["appProtocol"] for port in ports] == ["https", "https"]


def test_a_line_for_the_local_machine_speaks_tls() -> None:
    notes = texts(SECURE)["NOTES.txt"]
    assert "\n  curl -sk https://localhost:3000/predict -d" in notes
    assert "http://" not in notes
    assert "in plain" not in notes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, False),
        (at("gateway.service.type", "LoadBalancer"), True),
        (at("gateway.service.type", "NodePort"), True),
        (merge(SECURE, at("gateway.service.type", "NodePort")), False),
        (COMBINATIONS["ingress"], True),
        (COMBINATIONS["ingress-tls"], False),
        (COMBINATIONS["tls-callers"], False),
    ],
)
def test_a_way_in_from_outside_in_plain_is_said(values: dict[str, Any], said: bool) -> None:
    assert ("reach the gateway in plain" in texts(values)["NOTES.txt"]) is said


def test_what_stands_in_front_must_speak_tls() -> None:
    said = "what stands in front of it must speak TLS"
    assert said in texts(COMBINATIONS["tls-callers"])["NOTES.txt"]
    assert said not in texts(SECURE)["NOTES.txt"]


def test_names_of_the_chart_are_refused_only_where_it_uses_them() -> None:
    more = {"extraVolumes": [{"name": "tls", "emptyDir": {}}]}
    for values in (at("gateway", more), merge(SECURE, at("inference", more))):
        assert render(values)
    with pytest.raises(helm.HelmRenderError, match="the chart uses that name itself"):
        render(merge(SECURE, at("gateway", more)))
    with pytest.raises(helm.HelmRenderError, match=r"gateway\.extraEnv sets HUB_TLS_CERT"):
        render(at("gateway.extraEnv", [{"name": "HUB_TLS_CERT", "value": "/x"}]))


async def test_helm_test_asks_through_tls(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "v1-mock").symlink_to(MODELS / "v1-mock")
    secret = Secret(tmp_path / "secret")
    secret.hold(*Authority(tmp_path, "private").signed("gateway"))
    (url,) = [
        variable["value"]
        for variable in one(render(SECURE), "Pod", "-test")["spec"]["containers"][0]["env"]
        if variable["name"] == "URL"
    ]
    assert url.startswith("https://")
    async with running_hub(tmp_path / "models", **secret.settings) as hub:
        code, output = await run(f"https://localhost:{hub.gateway.port}")
    assert (code, output.count("class_id")) == (0, 1), output


def pods_of(values: dict[str, Any]) -> dict[str, Any]:
    """The pod of each tier."""
    objects = render(values)
    names = {"gateway": "gateway", "inference": "default"}
    return {
        tier: one(objects, "Deployment", name)["spec"]["template"]["spec"] for tier, name in names.items()
    }


def test_tiers_without_secrets_speak_in_plain_and_have_no_other_port_for_health() -> None:
    for tier, pod in pods_of({}).items():
        assert "HUB_TIER_TLS_CERT" not in environ(pod), tier
    container = pods_of({})["inference"]["containers"][0]
    assert "health" not in [port["name"] for port in container["ports"]]
    assert container["readinessProbe"]["grpc"]["port"] == 50051


@pytest.mark.parametrize(
    ("name", "secrets"),
    [
        ("tls-of-tiers", {"gateway": "front", "inference": "back"}),
        ("tls-by-cert-manager", {tier: f"hub-inferencehub-{tier}-tls" for tier in ("gateway", "inference")}),
        ("tls-by-the-scaler", {tier: f"hub-inferencehub-{tier}-tls" for tier in ("gateway", "inference")}),
    ],
)
def test_each_tier_has_its_secret_and_expects_the_name_of_the_other(
    name: str, secrets: dict[str, str]
) -> None:
    pods = pods_of(COMBINATIONS[name])
    gateway = read_settings(GatewaySettings, environ(pods["gateway"]))
    inference = read_settings(InferenceSettings, environ(pods["inference"]))
    assert gateway.tier_tls_server_name == "hub-inferencehub-inference.ml.svc"
    assert inference.tier_tls_client_names == ("hub-inferencehub-gateway.ml.svc",)
    for settings, tier in ((gateway, "gateway"), (inference, "inference")):
        (volume,) = [volume for volume in pods[tier]["volumes"] if volume["name"] == "tier-tls"]
        mounts = pods[tier]["containers"][0]["volumeMounts"]
        (mount,) = [mount for mount in mounts if mount["name"] == "tier-tls"]
        assert volume["secret"]["secretName"] == secrets[tier]
        keys = [(item["key"], item["path"]) for item in volume["secret"]["items"]]
        assert keys == [(file, file) for file in ("tls.crt", "tls.key", "ca.crt")], (
            "a pod waits for all of them"
        )
        assert "subPath" not in mount, "such a file would never change"
        named = [settings.tier_tls_cert, settings.tier_tls_key, settings.tier_tls_ca]
        assert named == [f"{mount['mountPath']}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")]


def test_the_kubelet_asks_for_health_at_the_plain_port_which_is_not_for_gateways() -> None:
    objects = render(COMBINATIONS["tls-of-tiers"])
    pod = one(objects, "Deployment", "default")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert read_settings(InferenceSettings, environ(pod)).health_port == 50053
    assert {container[probe]["grpc"]["port"] for probe in PROBES} == {50053}
    assert 50053 in [port["containerPort"] for port in container["ports"]]
    for rule in one(objects, "NetworkPolicy", "inference")["spec"]["ingress"]:
        assert 50053 not in [port["port"] for port in rule["ports"]]


def test_certificates_of_cert_manager_have_the_names_that_are_expected() -> None:
    objects = render(COMBINATIONS["tls-by-cert-manager"])
    found = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Certificate"}
    assert {name: (spec["dnsNames"], spec["usages"][1]) for name, spec in found.items()} == {
        "hub-inferencehub-gateway-callers-tls": (["hub.example.com"], "server auth"),
        "hub-inferencehub-gateway-tls": (["hub-inferencehub-gateway.ml.svc"], "client auth"),
        "hub-inferencehub-inference-tls": (["hub-inferencehub-inference.ml.svc"], "server auth"),
    }
    assert all(spec["secretName"] == name for name, spec in found.items())
    assert {spec["privateKey"]["algorithm"] for spec in found.values()} == {"ECDSA"}
    settings = read_settings(
        GatewaySettings, environ(one(objects, "Deployment", "gateway")["spec"]["template"]["spec"])
    )
    assert settings.tls_cert


def test_the_scaler_gets_empty_secrets_their_names_and_the_right_to_write_them() -> None:
    objects = render(COMBINATIONS["tls-by-the-scaler"])
    authority = "hub-inferencehub-tiers-authority"
    tiers = {tier: f"hub-inferencehub-{tier}-tls" for tier in ("gateway", "inference")}
    secrets = [
        one for one in of_kind(objects, "Secret") if one["metadata"]["name"] in {authority, *tiers.values()}
    ]
    assert len(secrets) == 3
    for secret in secrets:  # so that no upgrade takes a certificate away
        assert secret.keys() == {"apiVersion", "kind", "metadata", "type"}
    scaler = one(objects, "Deployment", "-scaler")["spec"]["template"]["spec"]
    settings = read_settings(ScalerSettings, environ(scaler))
    assert settings.authority_secret == authority
    assert settings.certificates() == {
        tier: Kept(secret, f"hub-inferencehub-{tier}.ml.svc") for tier, secret in tiers.items()
    }
    assert settings.tier_settle_s == 600
    rules = [
        rule
        for rule in one(objects, "Role", "-scaler")["rules"]
        if authority in rule.get("resourceNames", [])
    ]
    expected = {"resourceNames": [authority, *tiers.values()], "verbs": ["get", "update"]}
    assert rules == [{"apiGroups": [""], "resources": ["secrets"], **expected}]
    for tier, pod in pods_of(COMBINATIONS["tls-by-the-scaler"]).items():
        assert authority not in str(pod), tier


def test_the_scaler_has_no_such_right_without_being_asked() -> None:
    objects = render(COMBINATIONS["scaled-by-demand"])
    assert [secret["metadata"]["name"] for secret in of_kind(objects, "Secret")] == [
        "hub-inferencehub-scaler-certificate"
    ]
    assert not read_settings(
        ScalerSettings, environ(one(objects, "Deployment", "-scaler")["spec"]["template"]["spec"])
    ).authority_secret


def test_the_names_that_certificates_must_have_are_said() -> None:
    notes = texts(COMBINATIONS["tls-of-tiers"])["NOTES.txt"]
    assert "  gateways         hub-inferencehub-gateway.ml.svc\n" in notes
    assert "  inference pods   hub-inferencehub-inference.ml.svc\n" in notes
    assert "hub-inferencehub-gateway.ml.svc" not in texts({})["NOTES.txt"]
