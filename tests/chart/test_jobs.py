"""Where jobs are kept, as the chart's values say it, and as gateways read it."""

from __future__ import annotations

from typing import Any

from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.jobs.webhooks.targets import Targets
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.gateway.settings.jobs import is_store
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import Object, environ, of_kind, one, render


def gateway(objects: list[Object]) -> Any:
    """The pod of a gateway."""
    return one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]


def egress(objects: list[Object], port: int) -> list[Any]:
    """The rules by which gateways reach a port."""
    (policy,) = [
        one for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"].endswith("-gateway")
    ]
    rules = policy["spec"]["egress"]
    return [rule for rule in rules if any(found["port"] == port for found in rule["ports"])]


def test_there_are_none_without_a_store() -> None:
    objects = render()
    assert not read_settings(GatewaySettings, environ(gateway(objects))).jobs
    assert of_kind(objects, "StatefulSet") == []


def test_a_url_is_what_a_gateway_reads() -> None:
    objects = render(COMBINATIONS["jobs-by-url"])
    settings = read_settings(GatewaySettings, environ(gateway(objects)))
    assert settings.jobs == "rediss://store.example.com:6390/1"
    assert (settings.jobs_queue_length, settings.jobs_drain_s, settings.job_ttl_s) == (10, 5.0, 3600.0)
    assert settings.jobs_floor == 0.25
    (rule,) = egress(objects, 6390)
    assert "to" not in rule


def test_calls_load_models_where_a_value_says_so() -> None:
    for name, loads in (("model-loads", True), ("jobs", False)):
        settings = read_settings(GatewaySettings, environ(gateway(render(COMBINATIONS[name]))))
        assert settings.model_loads is loads


def test_sentinels_and_their_servers_are_reached() -> None:
    objects = render(COMBINATIONS["jobs-by-sentinels"])
    settings = read_settings(GatewaySettings, environ(gateway(objects)))
    assert is_store(settings.jobs)
    settings.check_jobs()
    (rule,) = egress(objects, 26380)
    assert [one["port"] for one in rule["ports"]] == [6380, 26380, 26379]
    (rule,) = egress(render(COMBINATIONS["jobs-by-sentinels-of-a-secret"]), 26379)
    assert [one["port"] for one in rule["ports"]] == [6379, 26379]


def test_a_password_comes_from_a_secret_and_authorities_from_a_config_map() -> None:
    objects = render(COMBINATIONS["jobs"])
    pod = gateway(objects)
    (container,) = pod["containers"]
    env = {one["name"]: one for one in container["env"]}
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "jobs"]
    assert env["HUB_JOBS"]["value"] == f"file:{mount['mountPath']}/url"
    assert {"name": "jobs", "secret": {"secretName": "jobs", "defaultMode": 0o400}} in pod["volumes"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "jobs-ca"]
    assert env["HUB_JOBS_CA"]["value"] == f"{mount['mountPath']}/ca.crt"
    assert {"name": "jobs-ca", "configMap": {"name": "authorities"}} in pod["volumes"]
    (rule,) = egress(objects, 6380)
    assert rule["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def test_an_embedded_store_keeps_jobs_and_lets_only_gateways_in() -> None:
    objects = render(COMBINATIONS["jobs-embedded"])
    (store,), (service,) = (
        of_kind(objects, "StatefulSet"),
        [one for one in of_kind(objects, "Service") if one["metadata"]["name"].endswith("-jobs")],
    )
    labels = store["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    url = read_settings(GatewaySettings, environ(gateway(objects))).jobs
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert url == f"redis://{name}.{namespace}.svc.cluster.local.:6379/0"
    (container,) = store["spec"]["template"]["spec"]["containers"]
    args = container["args"]
    told = {args[i].removeprefix("--"): args[i + 1] for i in range(0, len(args), 2)}
    assert (told["appendonly"], told["appendfsync"], told["maxmemory-policy"]) == (
        "yes",
        "always",
        "noeviction",
    )
    (claim,) = store["spec"]["volumeClaimTemplates"]
    assert container["volumeMounts"] == [{"name": claim["metadata"]["name"], "mountPath": told["dir"]}]
    (policy,) = [
        one for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"].endswith("-jobs")
    ]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    pods = one(objects, "Deployment", "gateway")["spec"]["template"]["metadata"]["labels"]
    (rule,) = policy["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"].items() <= pods.items() for peer in rule["from"]] == [True]
    assert policy["spec"]["egress"] == []
    (out,) = egress(objects, 6379)
    assert out["to"][0]["podSelector"]["matchLabels"].items() <= labels.items()


def test_an_embedded_store_without_a_volume_has_a_folder_of_its_pod() -> None:
    (store,) = of_kind(render(COMBINATIONS["jobs-embedded-for-a-while"]), "StatefulSet")
    assert "volumeClaimTemplates" not in store["spec"]
    assert store["spec"]["template"]["spec"]["volumes"] == [
        {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}
    ]


def test_webhooks_are_signed_and_reach_their_hosts() -> None:
    objects = render(COMBINATIONS["jobs-webhooks"])
    pod = gateway(objects)
    env = environ(pod)
    settings = read_settings(GatewaySettings, env)
    targets = Targets(settings.webhook_hosts)
    for url in ("https://a.example.com", "https://hooks.example.com:8443", "http://collector.tools.svc"):
        assert targets.of(f"{url}/x").url.startswith(url)
    (container,) = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert settings.webhook_secret == f"{mounts['webhooks']}/secrets"
    assert settings.webhook_ca == f"{mounts['webhooks-ca']}/ca.crt"
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes["webhooks"]["secret"] == {"secretName": "webhooks", "defaultMode": 0o400}
    assert volumes["webhooks-ca"]["configMap"] == {"name": "receivers"}
    (rule,) = egress(objects, 8443)
    assert [one["port"] for one in rule["ports"]] == [443, 8443, 80]
    assert rule["to"] == COMBINATIONS["jobs-webhooks"]["jobs"]["webhooks"]["egressTo"]


def test_without_hosts_there_are_no_webhooks() -> None:
    settings = read_settings(GatewaySettings, environ(gateway(render(COMBINATIONS["jobs"]))))
    assert (settings.webhook_hosts, settings.webhook_secret) == ((), "")
