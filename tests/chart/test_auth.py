"""API keys by the chart: where the file lies, what is said to who installs it, and `helm test` with and without a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.auth.key_file import digest, new_key
from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings
from tests.authority import Authority, Secret
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, environ, merge, one, render, texts
from tests.chart.test_release_test import run
from tests.hub import MODELS, running_hub

KEYS = at("auth.apiKeys.existingSecret", "keys")


def test_the_setting_names_a_file_of_the_mounted_secret() -> None:
    pod = one(render(KEYS), "Deployment", "gateway")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "auth"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "auth"]
    assert volume["secret"]["secretName"] == "keys"
    assert "subPath" not in mount, "such a file would never change"
    settings = read_settings(GatewaySettings, environ(pod))
    assert settings.api_keys == f"{mount['mountPath']}/keys.json"
    service = one(render(KEYS), "Service", "gateway-ops")
    assert service["spec"]["clusterIP"] == "None"
    assert settings.gateways == f"{service['metadata']['name']}.ml.svc.cluster.local."
    plain = one(render(), "Deployment", "gateway")["spec"]["template"]["spec"]
    assert not read_settings(GatewaySettings, environ(plain)).api_keys
    assert [volume["name"] for volume in plain["volumes"]] == ["tmp"]


def test_pools_that_take_direct_callers_have_the_keys_and_an_open_port() -> None:
    values = merge(COMBINATIONS["direct-calls"], at("inference.pools.gpu.directCalls.existingSecret", ""))
    objects = render(values)
    pod = one(objects, "Deployment", "default")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "auth"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "auth"]
    assert volume["secret"] == {"secretName": "pod-keys", "defaultMode": 0o400}
    settings = read_settings(InferenceSettings, environ(pod))
    assert settings.direct_calls
    assert settings.api_keys == f"{mount['mountPath']}/keys.json"
    other = one(objects, "Deployment", "gpu")["spec"]["template"]["spec"]
    assert not {"HUB_DIRECT_CALLS", "HUB_API_KEYS"} & environ(other).keys()
    assert "auth" not in [volume["name"] for volume in other["volumes"]]
    gateway = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    assert "HUB_API_KEYS" not in environ(gateway)

    rules = one(objects, "NetworkPolicy", "-inference")["spec"]["ingress"]
    before = one(render(at("inference.pools.gpu", {})), "NetworkPolicy", "-inference")["spec"]["ingress"]
    opened = [rule for rule in rules if rule not in before]
    peers = COMBINATIONS["direct-calls"]["networkPolicy"]["inference"]["from"]
    assert opened == [{"ports": [{"protocol": "TCP", "port": 50051}], "from": peers}]

    (names,) = [
        found["spec"]["dnsNames"]
        for found in objects
        if found["kind"] == "Certificate" and found["metadata"]["name"].endswith("-inference-tls")
    ]
    service = one(objects, "Service", "-default")["metadata"]["name"]
    assert names == ["hub-inferencehub-inference.ml.svc", f"{service}.ml.svc"]


def test_callers_who_show_certificates() -> None:
    values = COMBINATIONS["client-certificates"]
    objects = render(values)
    pod = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "callers-ca"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "callers-ca"]
    assert volume["configMap"]["name"] == "authorities"
    assert read_settings(GatewaySettings, environ(pod)).tls_ca == f"{mount['mountPath']}/ca.crt"
    asked = [line for line in texts(values)["NOTES.txt"].splitlines() if line.startswith("  curl")]
    assert all("--cert caller.crt --key caller.key" in line for line in asked)
    test = one(objects, "Pod", "-test")["spec"]
    (shown,) = [one["mountPath"] for one in test["containers"][0]["volumeMounts"]]
    assert environ(test)["CERTIFICATE"] == shown
    without = render(COMBINATIONS["client-certificates-untested"])
    assert not [found for found in without if found["kind"] == "Pod"]


@pytest.mark.parametrize("name", ["jwt", "jwt-of-a-file"])
def test_tokens(name: str) -> None:
    objects = render(COMBINATIONS[name])
    values = COMBINATIONS[name]["auth"]["jwt"]
    pod = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "jwt"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "jwt"]
    files = [
        f"{mount['mountPath']}/{item['path']}"
        for source in volume["projected"]["sources"]
        for item in source["configMap"]["items"]
    ]
    settings = read_settings(GatewaySettings, environ(pod))
    assert (settings.jwt_issuer, list(settings.jwt_audience)) == (values["issuer"], values["audiences"])
    assert settings.gateways
    rules = settings.token_rules()
    assert rules is not None
    if name == "jwt":
        assert (settings.jwt_keys, [settings.jwt_ca]) == (values["keys"]["url"], files)
        assert rules.claims.actions == values["claims"]["actions"]
        assert list(rules.algorithms) == values["algorithms"]
    else:
        assert ([settings.jwt_keys], settings.jwt_ca) == (files, "")
    assert environ(one(objects, "Pod", "-test")["spec"])["STATUS"] == "401"


def test_the_policy_opens_the_way_to_the_keys() -> None:
    def rules(values: dict[str, Any]) -> list[Any]:
        policy = one(render(merge(values, at("networkPolicy.enabled", True))), "NetworkPolicy", "gateway")
        egress: list[Any] = policy["spec"]["egress"]
        return egress

    opened = [rule for rule in rules(COMBINATIONS["jwt"]) if rule not in rules({})]
    to = COMBINATIONS["jwt"]["auth"]["jwt"]["keys"]["egressTo"]
    assert opened == [{"ports": [{"protocol": "TCP", "port": 8443}], "to": to}]
    url = {"issuer": "https://a/", "audiences": ["hub"], "keys": {"url": "https://[2001:db8::1]/keys"}}
    opened = [rule for rule in rules(at("auth.jwt", url)) if rule not in rules({})]
    assert opened == [{"ports": [{"protocol": "TCP", "port": 443}]}]
    assert rules(COMBINATIONS["jwt-of-a-file"]) == rules({})


def test_commands_in_the_notes_send_a_key() -> None:
    asked = [line for line in texts(KEYS)["NOTES.txt"].splitlines() if line.startswith("  curl")]
    assert asked
    assert all('-H "Authorization: Bearer $KEY"' in line for line in asked)
    assert "Authorization" not in texts({})["NOTES.txt"]


def test_helm_test_gets_its_key_from_a_secret() -> None:
    (variable,) = [
        variable
        for variable in one(render(COMBINATIONS["api-keys"]), "Pod", "-test")["spec"]["containers"][0]["env"]
        if variable["name"] == "KEY"
    ]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "key"}
    names = environ(one(render(KEYS), "Pod", "-test")["spec"])
    assert names["STATUS"] == "401"
    assert "STATUS" not in environ(one(render(COMBINATIONS["api-keys"]), "Pod", "-test")["spec"])


@pytest.mark.parametrize(("shows", "code"), [("caller", 0), ("stranger", 1)])
async def test_helm_test_shows_its_certificate(tmp_path: Path, shows: str, code: int) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "v1-mock").symlink_to(MODELS / "v1-mock")
    authority = Authority(tmp_path, "authority")
    gateway, caller = Secret(tmp_path / "gateway"), Secret(tmp_path / "caller")
    gateway.hold(*authority.signed("gateway"), authority)
    caller.hold(*authority.signed(shows))
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [{"id": "caller", "certificate": "caller"}]}))
    settings = {**gateway.settings, "tls_ca": str(gateway.directory / "ca.crt"), "api_keys": str(file)}
    async with running_hub(tmp_path / "models", **settings) as hub:
        url = f"https://localhost:{hub.gateway.port}"
        found, output = await run(url, CERTIFICATE=str(caller.directory))
    assert found == code, output


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"KEY": "good"}, 0),
        ({"KEY": "bad"}, 1),
        ({}, 1),
        ({"STATUS": "401"}, 0),
        ({"STATUS": "401", "KEY": "good"}, 1),
    ],
)
async def test_helm_test_asks_with_the_key_or_expects_to_be_refused(
    tmp_path: Path, environment: dict[str, str], code: int
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "v1-mock").symlink_to(MODELS / "v1-mock")
    key = new_key("test")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [{"id": "test", "sha256": digest(key.encode()).hex()}]}))
    if environment.get("KEY") == "good":
        environment = {**environment, "KEY": key}
    async with running_hub(tmp_path / "models", api_keys=str(file)) as hub:
        found, output = await run(hub.url, **environment)
    assert found == code, output


def test_pools_whose_models_call_others_know_the_gateway_and_reach_it_alone() -> None:
    values = COMBINATIONS["model-calls"]
    objects = render(values, namespace="ml")
    pod = one(objects, "Deployment", "gpu")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "gateway-key"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "gateway-key"]
    assert volume["secret"] == {"secretName": "pods-key", "defaultMode": 0o400}
    settings = read_settings(InferenceSettings, environ(pod))
    service = one(objects, "Service", "gateway")
    (port,) = [port["port"] for port in service["spec"]["ports"] if port["name"] == "grpc"]
    assert settings.gateway == f"{service['metadata']['name']}.ml.svc.cluster.local:{port}"
    assert settings.gateway_key == f"{mount['mountPath']}/key"
    other = one(objects, "Deployment", "default")["spec"]["template"]["spec"]
    assert not {"HUB_GATEWAY", "HUB_GATEWAY_KEY"} & environ(other).keys()

    off = merge(values, at("inference.pools.gpu.modelCalls.enabled", False))
    closed = render(off, namespace="ml")
    rules = [one(each, "NetworkPolicy", "-inference")["spec"]["egress"] for each in (closed, objects)]
    (opened,) = [rule for rule in rules[1] if rule not in rules[0]]
    port = {"protocol": "TCP", "port": 3001}
    assert opened == {
        "ports": [port],
        "to": [{"podSelector": {"matchLabels": service["spec"]["selector"]}}],
    }
    narrow = at("networkPolicy.gateway.from", [{"ipBlock": {"cidr": "10.0.0.0/8"}}])
    policies = [
        one(render(merge(given, narrow)), "NetworkPolicy", "-gateway")["spec"] for given in (off, values)
    ]
    (let_in,) = [rule for rule in policies[1]["ingress"] if rule not in policies[0]["ingress"]]
    assert let_in["ports"] == [port]
    (peer,) = let_in["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "inference"
