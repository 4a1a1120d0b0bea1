"""Models by URI: the init container of the chart fetches what the pod serves, and may reach just where it is."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from inferencehub.inference.fetch.command import quantity
from inferencehub.inference.fetch.uri import parse_uri
from tests.chart.combinations import COMBINATIONS, PEERS
from tests.chart.rendering import Object, at, environ, merge, one, render
from tests.hub import MODELS, running_hub
from tests.inference.fetch.fetching import run_fetch, sha256
from tests.inference.fetch.model_server import running_server

HTTPS, S3 = COMBINATIONS["models-by-uri"], COMBINATIONS["models-by-uri-of-s3"]


def pod(values: dict[str, Any], pool: str = "default") -> Object:
    """The pod's spec of a pool."""
    found: Object = one(render(values), "Deployment", f"-inference-{pool}")["spec"]["template"]["spec"]
    return found


def fetcher(values: dict[str, Any], pool: str = "default") -> Object:
    """The init container that fetches."""
    found: Object
    (found,) = pod(values, pool)["initContainers"]
    return found


def into(container: Object) -> str:
    """Where it puts the models."""
    (found,) = (arg.removeprefix("--into=") for arg in container["args"] if arg.startswith("--into="))
    return str(found)


def rules(values: dict[str, Any]) -> list[Object]:
    """Where inference pods may connect to, but for DNS."""
    found: list[Object] = one(render(values), "NetworkPolicy", "-inference")["spec"]["egress"]
    return found[1:]


async def test_what_the_chart_starts_fetches_what_the_pod_serves(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served/models.tar.gz", "w:gz") as archive:
        archive.add(MODELS / "v1-mock", "v1-mock")
    packed = (tmp_path / "served/models.tar.gz").read_bytes()
    volume, message = tmp_path / "volume", tmp_path / "message"
    async with running_server(tmp_path / "served") as server:
        for right in (False, True):
            checksum = sha256(packed) if right else "0" * 64
            uri = f"{server.url}/models.tar.gz#sha256={checksum}"
            spec = pod({"models": {"source": "uri", "uri": uri}})
            (container,) = spec["initContainers"]
            command, mark, *rest = container["args"]
            assert {"name": "tmp", "mountPath": str(Path(mark).parent)} in container["volumeMounts"]
            here = [
                arg.replace("/models/", f"{volume}/", 1).replace("/dev/termination-log", str(message))
                if arg.startswith("--")
                else arg
                for arg in rest
            ]
            ended = await run_fetch(tmp_path / f"mark-{right}", *here, command=command)
            assert ended.code == (0 if right else 1), ended.log
    assert f"has the sha256 {sha256(packed)}, expected {'0' * 64}." in message.read_text()
    async with running_hub(volume / environ(spec)["HUB_MODELS"].removeprefix("/models/")) as hub:
        body = json.dumps({"features": [0.5, 1.2, -3.4], "model_name": "v1-mock"})
        status, answer, _ = await hub.post("/predict", body.encode())
    assert (status, answer["error"]) == (200, "")


@pytest.mark.parametrize("values", [HTTPS, S3])
def test_the_pod_reads_where_the_fetch_writes(values: dict[str, Any]) -> None:
    spec = pod(values)
    assert environ(spec)["HUB_MODELS"] == into(fetcher(values))
    mounts = {mount["name"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts["models"] == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert {"name": "models", "mountPath": "/models"} in fetcher(values)["volumeMounts"]
    assert fetcher(values)["image"] == spec["containers"][0]["image"]
    assert parse_uri(fetcher(values)["args"][2]).url in values["models"]["uri"]


def test_a_changed_uri_or_checksum_is_another_directory_and_another_pod() -> None:
    changed = merge(HTTPS, at("models.uri", HTTPS["models"]["uri"].replace("0123", "3210")))
    assert into(fetcher(HTTPS)) != into(fetcher(changed))


@pytest.mark.parametrize(
    ("size", "expected"), [(10 * 2**30, 10 * 2**30), ("1.5Gi", 3 * 2**29), ("2P", 2 * 10**15)]
)
def test_the_fetch_takes_each_size_that_the_chart_takes(size: int | str, expected: int) -> None:
    values = {"models": {**HTTPS["models"], "fetch": {"size": size}}}
    (given,) = [text for text in fetcher(values)["args"] if text.startswith("--size=")]
    assert quantity(given.removeprefix("--size=")) == expected


def test_each_pod_fetches_for_itself_without_a_claim() -> None:
    (volume,) = (one for one in pod(HTTPS)["volumes"] if one["name"] == "models")
    assert volume["emptyDir"] == {"sizeLimit": "10Gi"}
    assert "--size=10Gi" in fetcher(HTTPS)["args"]
    (volume,) = (one for one in pod(S3)["volumes"] if one["name"] == "models")
    assert volume["persistentVolumeClaim"] == {"claimName": "fetched"}


def test_credentials_and_authorities_are_those_of_the_init_container_alone() -> None:
    spec = pod(S3)
    assert fetcher(S3)["envFrom"] == [{"secretRef": {"name": "bucket-keys"}}]
    assert "envFrom" not in spec["containers"][0]
    given = {entry["name"]: entry["value"] for entry in fetcher(S3)["env"]}
    assert given["AWS_ENDPOINT_URL"] == "http://minio.storage.svc:9000"
    assert given["AWS_REGION"] == "eu-central-1"
    assert given["SSL_CERT_FILE"] == given["AWS_CA_BUNDLE"] == "/etc/inferencehub/models-ca/ca.crt"
    assert not {"AWS_ENDPOINT_URL", "SSL_CERT_FILE"} & set(environ(spec))


def test_a_failure_is_in_the_pods_status() -> None:
    assert fetcher(S3)["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert "--message=/dev/termination-log" in fetcher(S3)["args"]


def test_after_a_failure_it_is_a_pod_that_gateways_can_ask() -> None:
    values = merge(merge(HTTPS, COMBINATIONS["tls-by-cert-manager"]), COMBINATIONS["direct-calls"])
    (container,) = pod(values)["containers"]
    serves = {entry["name"]: entry for entry in container["env"]}
    told = {entry["name"]: entry for entry in fetcher(values)["env"]}
    assert {"PORT", "HUB_TIER_TLS_CERT", "HUB_TIER_TLS_CLIENT_NAMES"} <= serves.keys()
    assert {name: told.get(name) for name in serves} == serves
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] != "models"]
    assert len(mounts) > 1
    assert [mount for mount in mounts if mount not in fetcher(values)["volumeMounts"]] == []


@pytest.mark.parametrize(
    ("models", "port"),
    [
        ({"uri": "https://a.example.com/x.zip"}, 443),
        ({"uri": f"http://a.example.com/x.zip#sha256={'0' * 64}"}, 80),
        ({"uri": f"http://a.example.com:8080/x.zip#sha256={'0' * 64}"}, 8080),
        ({"uri": "s3://bucket/x/"}, 443),
        ({"uri": "s3://bucket/x/", "fetch": {"endpoint": "http://minio.storage.svc"}}, 80),
        ({"uri": "s3://bucket/x/", "fetch": {"endpoint": "https://minio.storage.svc:9000/"}}, 9000),
    ],
)
def test_the_port_of_the_server_is_open_and_no_other(models: dict[str, Any], port: int) -> None:
    values = {"models": {"source": "uri", **models}}
    assert rules(values) == [{"ports": [{"protocol": "TCP", "port": port}]}]


def test_peers_narrow_it_and_other_sources_open_nothing() -> None:
    assert rules(S3) == [{"ports": [{"protocol": "TCP", "port": 9000}], "to": PEERS}]
    assert rules({}) == []


def test_a_pool_has_a_uri_of_its_own_and_the_fetch_of_all() -> None:
    values = merge(
        S3,
        at(
            "inference.pools.gpu.models",
            {"source": "uri", "uri": "s3://bucket/gpu/", "fetch": {"size": "1Ti"}},
        ),
    )
    container = fetcher(values, "gpu")
    assert container["args"][2] == "s3://bucket/gpu/"
    assert "--size=1Ti" in container["args"]
    assert {"name": "AWS_REGION", "value": "eu-central-1"} in container["env"]
    assert into(container).split("/")[2] != into(fetcher(values)).split("/")[2]


def test_kubernetes_puts_no_variable_into_a_uri() -> None:
    """It would replace $(NAME) in arguments."""
    container = fetcher({"models": {"source": "uri", "uri": "s3://bucket/$(HOME)/"}})
    assert container["args"][2] == "s3://bucket/$$(HOME)/"
