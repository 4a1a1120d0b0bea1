"""values.yaml and values.schema.json: closed, complete, explained, and 0 and false mean 0 and false."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from inferencehub.core.process.settings import variables
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings
from tests.chart.rendering import CHART, at, chart, environ, helm, merge, of_kind, one, render, texts

TEXT = (CHART / "values.yaml").read_text()
DEFAULTS: dict[str, Any] = yaml.safe_load(TEXT)
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
# Maps whose keys are the user's.
FREE = {"free", "texts", "quantities", "global", "pools"}


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """What a $ref refers to."""
    reference = schema.get("$ref", "")
    return SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema


def closed_maps(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[str]:
    """The paths of all maps in the default values whose keys the schema names."""
    schema = resolve(schema)
    if isinstance(values, dict) and "properties" in schema:
        yield path
        for key, value in values.items():
            yield from closed_maps(schema["properties"].get(key, {}), value, f"{path}.{key}".strip("."))


MAPS = list(closed_maps(SCHEMA, DEFAULTS))


@pytest.mark.parametrize("path", MAPS)
def test_a_typo_is_refused_at_every_level(path: str) -> None:
    with pytest.raises(helm.HelmValuesError, match="typo"):
        chart().validate_schema(at(f"{path}.typo".strip("."), 1))
    with pytest.raises(helm.HelmError, match="typo"):
        chart().render(at(f"{path}.typo".strip("."), 1), name="hub", namespace="ml")


@pytest.mark.parametrize(
    "path", ["replica", "image.tags", "autoscaling.max", "models.files", "serviceAccount.create", "pools.x"]
)
def test_a_typo_is_refused_in_a_pool(path: str) -> None:
    with pytest.raises(helm.HelmValuesError):
        chart().validate_schema(at(f"inference.pools.gpu.{path}", {}))


def test_every_object_of_the_schema_is_closed() -> None:
    assert len(MAPS) > 40

    def walk(schema: Any, name: str) -> None:
        if isinstance(schema, dict):
            if "properties" in schema and isinstance(schema["properties"], dict):
                assert schema.get("additionalProperties") is False, name
            for key, value in schema.items():
                walk(value, key)
        elif isinstance(schema, list):
            for value in schema:
                walk(value, name)

    walk(SCHEMA, "")


def test_the_schema_knows_every_value_and_no_other() -> None:
    def compare(schema: dict[str, Any], values: Any, path: str) -> None:
        schema = resolve(schema)
        if isinstance(values, dict) and "properties" in schema:
            known = schema["properties"].keys() - ({"global", "enabled"} if not path else set())
            if path.rpartition(".")[2] not in {"resources", "startup", "readiness", "liveness", "addresses"}:
                assert known == values.keys(), path
            for key, value in values.items():
                compare(schema["properties"][key], value, f"{path}.{key}".strip("."))

    compare(SCHEMA, DEFAULTS, "")


def test_a_pool_may_have_what_the_defaults_have_and_its_models() -> None:
    pool = SCHEMA["definitions"]["pool"]["properties"]
    inference = SCHEMA["properties"]["inference"]["properties"]
    assert pool.keys() - {"models"} == inference.keys() - {"pools", "serviceAccount"}
    assert all(pool[key] == inference[key] for key in pool.keys() - {"models"})


def test_every_value_is_explained() -> None:
    explained = set(value_lines())
    missing = [path for path in leaves(SCHEMA, DEFAULTS) if path not in explained]
    assert missing == []


def value_lines() -> Iterator[str]:
    """The path of each key of values.yaml that has a comment beginning with "-- " above it."""
    path: list[tuple[int, str]] = []
    explained = False
    for line in TEXT.splitlines():
        indent = len(line) - len(line.lstrip())
        comment = line.lstrip().startswith("#")
        if key := re.match(r" *([\w.-]+):", line):
            path = [entry for entry in path if entry[0] < indent] + [(indent, key[1])]
            if explained:
                yield ".".join(name for _, name in path)
        explained = line.lstrip().startswith("# -- ") or (explained and comment)


def leaves(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[str]:
    """The paths of all default values that are no closed map; probes and resources are one value each."""
    schema = resolve(schema)
    key = path.rpartition(".")[2]
    if "properties" not in schema or key in {"resources", "startup", "readiness", "liveness"}:
        yield path
        return
    for name, value in values.items():
        yield from leaves(schema["properties"][name], value, f"{path}.{name}".strip("."))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("gateway.replicas", "two"),
        ("gateway.replicas", -1),
        ("gateway.log.level", "loud"),
        ("gateway.drain.waitSeconds", 601),
        ("gateway.drain.timeoutSeconds", 1.5),
        ("gateway.keepAliveSeconds", 0),
        ("gateway.keepAliveSeconds", 3601),
        ("gateway.maxConnections", -1),
        ("gateway.maxConnections", "many"),
        ("gateway.service.type", "Headless"),
        ("gateway.image.pullPolicy", "Sometimes"),
        ("gateway.extraEnv", {"HUB_HOLD_S": "1"}),
        ("gateway.extraEnv", [{"name": "HUB_HOLD_S", "value": 1}]),
        ("gateway.resources.limits.memory", "1 GiB"),
        ("gateway.strategy.maxSurge", "25"),
        ("inference.pools", ["default"]),
        ("inference.autoscaling.source", "memory"),
        ("inference.autoscaling.enabled", True),
        ("inference.autoscaling.minReplicas", 0),
        ("inference.autoscaling.targetDemand", 0),
        ("inference.autoscaling.targetDemand", 101),
        ("inference.autoscaling.demand.provider", "other"),
        ("inference.autoscaling.scaleToZero.quietSeconds", 0),
        ("inference.autoscaling.scaleToZero.models", {"a/b": {"slots": 4}}),
        ("inference.autoscaling.scaleToZero.models", {"digits": {"maxBatchSize": 8}}),
        ("inference.requiredModels", "digits"),
        ("models.source", "s3"),
        ("networkPolicy.dns.ports", []),
        ("monitoring.podMonitor.interval", "15"),
        ("clusterDomain", "cluster.local."),
        ("commonLabels", {"n": 1}),
        ("imagePullSecrets", ["pull"]),
        ("ingress.path", "hub"),
        ("traffic.models", {"m": {"weights": {"1": "90"}}}),
        ("traffic.models", {"m": {"aliases": {"stable": 1}}}),
        ("traffic.models", {"m": {"shares": {}}}),
        ("traffic.models", {"m": {"shadow": {"version": "2", "share": 0}}}),
        ("traffic.models", {"m": {"weights": {"1": 1, "2": 1}, "rollback": {"version": "2"}}}),
    ],
)
def test_a_wrong_type_is_refused(path: str, wrong: Any) -> None:
    with pytest.raises(helm.HelmValuesError):
        chart().validate_schema(at(path, wrong))


def test_bounds_are_those_of_the_settings() -> None:
    drain = SCHEMA["definitions"]["drain"]["properties"]
    log = SCHEMA["definitions"]["log"]["properties"]
    for settings in (GatewaySettings, InferenceSettings):
        fields = dict(variables(settings))
        for key, name in (("waitSeconds", "HUB_DRAIN_WAIT_S"), ("timeoutSeconds", "HUB_DRAIN_TIMEOUT_S")):
            rules = fields[name].metadata
            assert (drain[key]["minimum"], drain[key]["maximum"]) == (rules["least"], rules["most"])
        for key, name in (("format", "HUB_LOG_FORMAT"), ("level", "HUB_LOG_LEVEL")):
            assert tuple(log[key]["enum"]) == fields[name].metadata["choices"]
    gateway, fields = SCHEMA["properties"]["gateway"]["properties"], dict(variables(GatewaySettings))
    for key, name in (("keepAliveSeconds", "HUB_KEEP_ALIVE_S"), ("maxConnections", "HUB_MAX_CONNECTIONS")):
        rules = fields[name].metadata
        assert (gateway[key]["minimum"], gateway[key]["maximum"]) == (rules["least"], rules["most"])
        assert fields[name].default == DEFAULTS["gateway"][key]


@pytest.mark.parametrize("tier", ["gateway", "inference", "inference.pools.default"])
def test_zero_and_false_are_honoured(tier: str) -> None:
    values = {
        "replicas": 0,
        "log": {"access": False},
        "drain": {"waitSeconds": 0, "timeoutSeconds": 0},
        "minReadySeconds": 0,
        "revisionHistoryLimit": 0,
        "strategy": {"maxUnavailable": 1, "maxSurge": 0},
        "podDisruptionBudget": {"enabled": False},
        "topologySpreadConstraints": [],
    }
    scaling = {} if tier == "gateway" else {"autoscaling": {"source": "none"}}
    objects = render(at(tier, {**values, **scaling}))
    suffix = "gateway" if tier == "gateway" else "default"
    spec = one(objects, "Deployment", suffix)["spec"]
    assert (spec["replicas"], spec["minReadySeconds"], spec["revisionHistoryLimit"]) == (0, 0, 0)
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 10
    assert "topologySpreadConstraints" not in pod
    env = environ(pod)
    assert (env["HUB_ACCESS_LOG"], env["HUB_DRAIN_WAIT_S"], env["HUB_DRAIN_TIMEOUT_S"]) == ("false", "0", "0")
    assert not [
        thing
        for thing in of_kind(objects, "PodDisruptionBudget")
        if thing["metadata"]["name"].endswith(suffix)
    ]


def test_a_pool_can_switch_off_what_the_defaults_switch_on() -> None:
    values = at("inference", {"autoscaling": {"source": "cpu"}, "log": {"access": True}})
    still_values = {"autoscaling": {"source": "none"}, "log": {"access": False}, "replicas": 0}
    pool = at("inference.pools.still", still_values)
    still = one(render(merge(values, pool)), "Deployment", "still")["spec"]
    assert still["replicas"] == 0
    assert environ(still["template"]["spec"])["HUB_ACCESS_LOG"] == "false"


def test_the_default_pool_can_be_left_out() -> None:
    objects = render(at("inference.pools", {"default": None, "gpu": {}}))
    assert [thing["metadata"]["name"] for thing in of_kind(objects, "Deployment")] == [
        "hub-inferencehub-gateway",
        "hub-inferencehub-inference-gpu",
    ]


def test_a_parent_chart_may_say_global_and_enabled() -> None:
    assert texts({"global": {"imageRegistry": "example.com"}, "enabled": True})


def test_a_large_number_stays_a_number() -> None:
    spec = one(render(at("gateway.revisionHistoryLimit", 100)), "Deployment", "gateway")
    assert spec["spec"]["revisionHistoryLimit"] == 100
    probes = at(
        "inference", {"probes": {"startup": {"failureThreshold": 80000}}, "progressDeadlineSeconds": 86400}
    )
    container = one(render(probes), "Deployment", "default")["spec"]["template"]["spec"]["containers"][0]
    assert container["startupProbe"]["failureThreshold"] == 80000
