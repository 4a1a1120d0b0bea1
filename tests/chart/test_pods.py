"""Every pod, including the one of `helm test`: its rights, its resources, its probes, and how it stops."""

from __future__ import annotations

import re
from typing import Any

import pytest

from inferencehub.core.process.settings import SettingError, read_settings
from inferencehub.gateway.settings import GatewaySettings
from inferencehub.inference.grpc_api.health import LIVE, READY, STARTED
from inferencehub.inference.settings import InferenceSettings
from inferencehub.scaler.settings import ScalerSettings
from tests.chart.combinations import COMBINATIONS, DIGEST
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
    "gateway": (GatewaySettings, {"http": "port", **OPS}),
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


@every
def test_three_probes_ask_three_questions(name: str) -> None:
    for thing in of_kind(render(COMBINATIONS[name]), "Deployment"):
        container = thing["spec"]["template"]["spec"]["containers"][0]
        startup, readiness, liveness = (
            container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")
        )
        if container["name"] == "inference":
            asked = [probe["grpc"] for probe in (startup, readiness, liveness)]
            assert asked == [{"port": 50051, "service": service} for service in (STARTED, READY, LIVE)]
        else:
            asked = [probe["httpGet"] for probe in (startup, readiness, liveness)]
            assert asked == [{"path": path, "port": "ops"} for path in ("/healthz", "/readyz", "/healthz")]
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
    inference = {**tier, "requiredModels": ["digits", "sentiment"], "readyAfter": "first"}
    objects = render({"gateway": tier, "inference": inference})
    env = environ(one(objects, "Deployment", "default")["spec"]["template"]["spec"])
    settings = read_settings(InferenceSettings, env)
    assert (settings.log_format, settings.log_level, settings.access_log) == ("human", "debug", False)
    assert (settings.drain_wait_s, settings.drain_timeout_s) == (0.0, 7.0)
    assert settings.required_models == ("digits", "sentiment")
    assert settings.ready_after == "first"
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


ZONE = {"topologyKey": "topology.kubernetes.io/zone", "matchLabelKeys": ["pod-template-hash"]}


def test_pods_are_spread_and_counted_by_version() -> None:
    """A scheduler that scores ignores a node that lacks the label of any constraint. So there is one, and every node has
    its label; zones, which many clusters lack, are a wish of their own."""
    objects = render(merge(at("inference.pools.gpu", {}), at("inference.autoscaling.source", "demand")))
    for thing in of_kind(objects, "Deployment"):
        spec = thing["spec"]["template"]["spec"]
        selector = thing["spec"]["selector"]
        assert spec["topologySpreadConstraints"] == [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "matchLabelKeys": ["pod-template-hash"],
                "labelSelector": selector,
            }
        ]
        wish = {"weight": 100, "podAffinityTerm": {**ZONE, "labelSelector": selector}}
        assert spec["affinity"] == {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}
        }
    assert len(of_kind(objects, "Deployment")) == 4


@pytest.mark.parametrize("tier", ["gateway", "inference", "inference.pools.default", "scaler"])
def test_the_wish_for_zones_can_be_changed_and_left_out(tier: str) -> None:
    named = {"labelSelector": {"matchLabels": {"team": "ml"}}, "topologyKey": "rack"}
    node = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}
    chosen = {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [named, {"topologyKey": "rack"}]},
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": node},
    }
    demand = at("inference.autoscaling.source", "demand")
    suffix = tier.rpartition(".")[2].replace("inference", "default")
    deployment = one(render(merge(demand, at(f"{tier}.affinity", chosen))), "Deployment", suffix)
    found = deployment["spec"]["template"]["spec"]["affinity"]
    own = {"topologyKey": "rack", "labelSelector": deployment["spec"]["selector"]}
    assert found["podAffinity"] == {"requiredDuringSchedulingIgnoredDuringExecution": [named, own]}
    assert found["nodeAffinity"] == chosen["nodeAffinity"]
    assert found["podAntiAffinity"].keys() == {"preferredDuringSchedulingIgnoredDuringExecution"}

    without = one(render(merge(demand, at(f"{tier}.affinity.podAntiAffinity", None))), "Deployment", suffix)
    assert "affinity" not in without["spec"]["template"]["spec"]


LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def lost(seconds: int, taint: str) -> dict[str, Any]:
    """The toleration of a lost node."""
    return {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}


@pytest.mark.parametrize(
    ("tolerations", "seconds", "added"),
    [
        ([], 10, LOST),
        ([], 0, LOST),
        ([], None, ()),
        ([{"key": "gpu", "operator": "Exists"}], 60, LOST),
        ([{"key": LOST[0], "operator": "Exists", "effect": "NoExecute"}], 60, LOST[1:]),
        ([{"key": LOST[0], "operator": "Exists", "effect": "NoSchedule"}], 60, LOST),
        # All taints.
        ([{"operator": "Exists"}], 10, ()),
    ],
)
@pytest.mark.parametrize("tier", ["gateway", "inference", "inference.pools.default", "scaler"])
def test_pods_leave_a_lost_node_after_some_seconds(
    tier: str, tolerations: list[Any], seconds: int | None, added: tuple[str, ...]
) -> None:
    values = at(tier, {"tolerations": tolerations, "tolerationSeconds": seconds})
    objects = render(merge(at("inference.autoscaling.source", "demand"), values))
    suffix = tier.rpartition(".")[2].replace("inference", "default")
    spec = one(objects, "Deployment", suffix)["spec"]["template"]["spec"]
    expected = [*tolerations, *[lost(seconds or 0, taint) for taint in added]]
    assert spec.get("tolerations", []) == expected


def test_all_pods_leave_a_lost_node_soon() -> None:
    for thing in of_kind(render(COMBINATIONS["scaled-to-zero"]), "Deployment"):
        assert thing["spec"]["template"]["spec"]["tolerations"] == [lost(10, taint) for taint in LOST]
