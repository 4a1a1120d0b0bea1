"""Every pod, including the one of `helm test`: its rights, its resources, its probes, and how it stops."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from inferencehub.core.process.settings import SettingError, read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.grpc_api.health import LIVE, READY, STARTED
from inferencehub.inference.settings import InferenceSettings
from inferencehub.scaler.settings import ScalerSettings
from tests.chart.combinations import COMBINATIONS, DIGEST, MORE
from tests.chart.rendering import at, containers, environ, merge, of_kind, one, pods, render

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
# By container: what reads its environment, and the name of its port.
# Each container's settings, and its ports as the settings' fields.
OPS = {"ops": "ops_port"}
READ: dict[str, tuple[Any, dict[str, str]]] = {
    "gateway": (GatewaySettings, {"http": "port", "grpc": "grpc_port", **OPS}),
    "inference": (InferenceSettings, {"grpc": "port", "tcp-stream": "stream_port", **OPS}),
    "scaler": (ScalerSettings, {"https": "port", **OPS}),
}
every = pytest.mark.parametrize("name", COMBINATIONS)


@every
def test_the_restricted_standard_holds(name: str) -> None:
    for pod, _, spec in pods(render(COMBINATIONS[name])):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod
        assert context["runAsUser"] >= 10000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for volume in spec.get("volumes", []):
            assert volume.keys() - {"name"} <= RESTRICTED_VOLUMES
        for container in containers(spec):
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False
            assert inner["readOnlyRootFilesystem"] is True
            assert inner["capabilities"] == {"drop": ["ALL"]}
            assert "hostPort" not in str(container.get("ports"))


@every
def test_files_of_secrets_are_for_the_process_alone(name: str) -> None:
    """They belong to root, so they are read by the group, which Kubernetes lets read them (0400 becomes 0440)."""
    given = COMBINATIONS[name]
    found = 0
    for _, _, spec in pods(render(given)):
        context = spec["securityContext"]
        assert context["fsGroup"] == context["runAsGroup"] == context["runAsUser"]
        assert context["fsGroupChangePolicy"] == "OnRootMismatch"
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                found += 1
                assert volume["secret"]["defaultMode"] == 0o400, volume
                for container in containers(spec):
                    for mount in container.get("volumeMounts", []):
                        assert mount["name"] != volume["name"] or mount["readOnly"] is True
    tls = given.get("tls", {})
    mounted = 3 * ("ops" in tls)  # the combinations with it have a scaler
    mounted += ("callers" in tls) + 2 * ("tiers" in tls) + ("apiKeys" in given.get("auth", {}))
    mounted += "directCalls" in given.get("inference", {})
    mounted += "pods-key" in str(given)
    mounted += "certificateSecret" in given.get("example", {})
    jobs = given.get("jobs", {})
    mounted += ("existingSecret" in jobs.get("redis", {})) + ("webhooks" in jobs)
    assert found == mounted


def test_a_platform_that_chooses_users_and_groups_itself_is_left_to_it() -> None:
    free = at("securityContext.pod", {"runAsUser": None, "runAsGroup": None, "fsGroup": None})
    for _, _, spec in pods(render(merge(COMBINATIONS["api-keys"], free))):
        assert not spec["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"}


@every
def test_no_token_no_links_no_hooks_and_an_account(name: str) -> None:
    objects = render(COMBINATIONS[name])
    accounts = {thing["metadata"]["name"] for thing in of_kind(objects, "ServiceAccount")}
    for _, _, spec in pods(objects):
        assert spec["automountServiceAccountToken"] is (spec["containers"][0]["name"] == "scaler")
        assert spec["enableServiceLinks"] is False
        assert spec["serviceAccountName"] in accounts | {"theirs", "default"}
        assert all("lifecycle" not in container for container in containers(spec))
    assert all(thing["automountServiceAccountToken"] is False for thing in of_kind(objects, "ServiceAccount"))


@every
def test_resources_are_asked_for_and_memory_is_bounded(name: str) -> None:
    for pod, _, spec in pods(render(COMBINATIONS[name])):
        for container in containers(spec):
            resources = container["resources"]
            if not ("gpu" in pod or container["name"] == "models"):
                assert resources["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in resources["limits"]
            if container["name"] == "gateway":
                assert "cpu" not in resources["limits"]


@every
def test_images_are_pinned(name: str) -> None:
    for _, _, spec in pods(render(COMBINATIONS[name])):
        for container in containers(spec):
            assert re.search(r"(:[\w.-]+|@sha256:[0-9a-f]{64})$", container["image"])
            assert not container["image"].endswith(":latest")


def test_a_digest_wins_over_the_tag() -> None:
    values = at("gateway.image", {"repository": "registry.example.com/gateway", "tag": "x", "digest": DIGEST})
    _, _, spec = next(pods(render(values)))
    assert spec["containers"][0]["image"] == f"registry.example.com/gateway@{DIGEST}"


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("20261128", "20261128"),
        ("20261128123456", "20261128123456"),
        ("7", "7"),
        ("0", "0"),
        ("1.5", "1.5"),
        ("'1.10'", "1.10"),
        ("1e3a", "1e3a"),
        ("''", "0.1.0"),
    ],
)
@pytest.mark.parametrize("tier", ["gateway", "inference", "inference.pools.default"])
def test_a_tag_may_be_a_number(tier: str, written: str, tag: str) -> None:
    values = at(f"{tier}.image.tag", yaml.safe_load(written))
    suffix = "gateway" if tier == "gateway" else "default"
    spec = one(render(values), "Deployment", suffix)["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == f"inferencehub-{tier.partition('.')[0]}:{tag}"


@pytest.mark.parametrize(
    ("combination", "suffix"), [("everything-of-a-pod", "gateway"), ("everything-of-a-pool", "gpu")]
)
def test_what_a_pod_may_have_besides(combination: str, suffix: str) -> None:
    spec = one(render(COMBINATIONS[combination]), "Deployment", suffix)["spec"]["template"]["spec"]
    container, *beside = spec["containers"]
    assert container["envFrom"] == MORE["envFrom"]
    assert container["resources"]["requests"]["ephemeral-storage"] == "1Gi"
    assert container["resources"]["limits"]["ephemeral-storage"] == "2Gi"
    assert beside == MORE["extraContainers"]
    assert spec["initContainers"][:1] == MORE["extraInitContainers"]
    assert [one["name"] for one in spec["initContainers"][1:]] == (["models"] if suffix == "gpu" else [])
    assert {key: spec[key] for key in ("dnsConfig", "hostAliases")} == {
        key: MORE[key] for key in ("dnsConfig", "hostAliases")
    }


@every
def test_three_probes_ask_three_questions(name: str) -> None:
    for thing in of_kind(render(COMBINATIONS[name]), "Deployment"):
        container = thing["spec"]["template"]["spec"]["containers"][0]
        startup, readiness, liveness = (
            container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")
        )
        if container["name"] == "inference":
            asked = [probe["grpc"] for probe in (startup, readiness, liveness)]
            port = 50053 if "tiers" in COMBINATIONS[name].get("tls", {}) else 50051  # probes speak no TLS
            assert asked == [{"port": port, "service": service} for service in (STARTED, READY, LIVE)]
        else:
            asked = [probe["httpGet"] for probe in (startup, readiness, liveness)]
            scheme = {"scheme": "HTTPS"} if "ops" in COMBINATIONS[name].get("tls", {}) else {}
            paths = ("/healthz", "/readyz", "/healthz")
            assert asked == [{"path": path, "port": "ops", **scheme} for path in paths]
        assert startup["failureThreshold"] * startup["periodSeconds"] >= 60
        assert liveness["timeoutSeconds"] > 1


@every
def test_the_pod_gets_the_time_that_its_drain_takes(name: str) -> None:
    for thing in of_kind(render(COMBINATIONS[name]), "Deployment"):
        spec = thing["spec"]["template"]["spec"]
        read, _ = READ[spec["containers"][0]["name"]]
        settings = read_settings(read, {key: value for key, value in environ(spec).items() if key != "NODE"})
        drain = settings.drain_wait_s + getattr(settings, "drain_timeout_s", 0)
        assert drain < spec["terminationGracePeriodSeconds"] <= drain + 30


@every
def test_the_environment_is_what_the_processes_read(name: str) -> None:
    for thing in of_kind(render(COMBINATIONS[name]), "Deployment"):
        container = thing["spec"]["template"]["spec"]["containers"][0]
        read, named = READ[container["name"]]
        env = environ(thing["spec"]["template"]["spec"])
        settings = read_settings(read, {key: value for key, value in env.items() if key != "NODE"})
        ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
        if "HUB_HEALTH_PORT" in env:
            named = {**named, "health": "health_port"}
        assert ports == {name: getattr(settings, field) for name, field in named.items()}
        assert len(env) == len(container["env"])


def test_a_setting_that_no_process_reads_would_be_found() -> None:
    spec = one(render(at("gateway.extraEnv", [{"name": "HUB_HOLDS", "value": "1"}])), "Deployment", "gateway")
    with pytest.raises(SettingError):
        read_settings(GatewaySettings, environ(spec["spec"]["template"]["spec"]))


def test_values_of_the_tiers_become_settings() -> None:
    tier = {
        "log": {"format": "human", "level": "debug", "access": False},
        "drain": {"waitSeconds": 0, "timeoutSeconds": 7},
    }
    inference = {
        **tier,
        "requiredModels": ["digits", "sentiment"],
        "readyAfter": "first",
        "modelControl": "explicit",
        "loadModels": ["digits", "sentiment"],
    }
    objects = render({"gateway": tier, "inference": inference})
    env = environ(one(objects, "Deployment", "default")["spec"]["template"]["spec"])
    settings = read_settings(InferenceSettings, env)
    assert (settings.log_format, settings.log_level, settings.access_log) == ("human", "debug", False)
    assert (settings.drain_wait_s, settings.drain_timeout_s) == (0.0, 7.0)
    assert settings.required_models == ("digits", "sentiment")
    assert settings.ready_after == "first"
    assert (settings.model_control, settings.load_models) == ("explicit", ("digits", "sentiment"))
    gateway = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    assert gateway["terminationGracePeriodSeconds"] == 17
    assert read_settings(GatewaySettings, environ(gateway)).access_log is False


SECRET = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}
PLAIN, SETTING = {"name": "AWS_REGION", "value": "eu"}, {"name": "HUB_QUEUE_BYTES", "value": "2048"}


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ([], ()),
        ([SETTING], ()),
        ([PLAIN, SETTING, SECRET], ("AWS_REGION", "HF_TOKEN")),
        ([PLAIN, {"name": "HUB_MODEL_ENV", "value": "MINE_*"}], ("MINE_*",)),
    ],
)
def test_models_get_the_variables_of_extra_env(extra: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    pools = {"default": {}, "other": {"extraEnv": extra}}
    objects = render(merge(at("inference.extraEnv", [PLAIN]), at("inference.pools", pools)))
    for pool, expected in (("default", ("AWS_REGION",)), ("other", names)):
        env = environ(one(objects, "Deployment", pool)["spec"]["template"]["spec"])
        assert read_settings(InferenceSettings, env).model_env == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (75.0, 0)),
        (at("gateway", {"keepAliveSeconds": 620, "maxConnections": 1_000_000}), (620.0, 1_000_000)),
    ],
)
def test_connections_of_the_gateway_become_settings(
    values: dict[str, Any], expected: tuple[float, int]
) -> None:
    pod = one(render(values), "Deployment", "gateway")["spec"]["template"]["spec"]
    settings = read_settings(GatewaySettings, environ(pod))
    assert (settings.keep_alive_s, settings.max_connections) == expected


@every
def test_what_can_be_written_is_bounded(name: str) -> None:
    for _, _, spec in pods(render(COMBINATIONS[name])):
        for volume in spec.get("volumes", []):
            if "emptyDir" in volume and volume["name"] != "more":
                assert volume["emptyDir"]["sizeLimit"]


@every
def test_a_rollout_takes_no_capacity_away(name: str) -> None:
    for thing in of_kind(render(COMBINATIONS[name]), "Deployment"):
        spec = thing["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        startup = spec["template"]["spec"]["containers"][0]["startupProbe"]
        assert spec["progressDeadlineSeconds"] > spec["minReadySeconds"] + startup["failureThreshold"]
