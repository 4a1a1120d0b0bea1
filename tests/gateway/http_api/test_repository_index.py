"""The repository index: every model version of all pods, its state, and why."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc.aio as triton_grpc
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio

from inferencehub.core.auth.caller import ANYONE
from tests.hub import Process, eventually, mock_model, running_gateway, running_hub, write_model

INDEX = "/v2/repository/index"
NO_FILE = "'1/model.onnx' is not there"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    mock_model(tmp_path, "quick")
    mock_model(tmp_path, "both", more="version_policy { all { } }")
    (tmp_path / "both" / "10").mkdir()
    (tmp_path / "both" / "2").mkdir()
    write_model(tmp_path, "broken", 'backend: "onnxruntime"')
    return tmp_path


def entry(name: str, version: str, state: str = "READY", reason: str = "") -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason}


def by_http(address: str) -> Any:
    with triton_http.InferenceServerClient(address) as client:
        return client.get_model_repository_index()


async def test_all_clients_read_the_same_index(models: Path) -> None:
    async with running_hub(models) as hub:
        address = hub.url.removeprefix("http://")
        expected = [
            entry("both", "1"),
            entry("both", "2"),
            entry("both", "10"),
            entry("broken", "1", "UNAVAILABLE", NO_FILE),
            entry("quick", "1"),
        ]
        assert await asyncio.to_thread(by_http, address) == expected
        async with triton_http_aio.InferenceServerClient(address) as client:
            assert await client.get_model_repository_index() == expected
        async with triton_grpc.InferenceServerClient(f"127.0.0.1:{hub.pods[0].port}") as pod:
            index = await pod.get_model_repository_index()
            said = [entry(m.name, m.version, m.state, m.reason) for m in index.models]
            assert said == expected


async def test_a_body_may_ask_for_models_that_serve(models: Path) -> None:
    async with running_hub(models) as hub:
        for body in ({}, {"ready": False}, {"ready": None}, {"of_others": 1}):
            assert len((await hub.post(INDEX, body))[1]) == 5
        _, served, _ = await hub.post(INDEX, {"ready": True})
        assert [each["name"] for each in served] == ["both", "both", "both", "quick"]
        for bad in (b"[]", b"{", b'{"ready":1}', b'{"ready":"true"}', b"\xff"):
            status, answer, _ = await hub.post(INDEX, bad)
            assert status == 400, bad
            assert answer["error"]
        status, answer, _ = await hub.post(INDEX, b" " * 140_000)
        assert (status, answer["error"]) == (413, "the body has 140000 bytes, expected at most 131072")
        status, answer, _ = await hub.get(INDEX)
        assert status == 405


@pytest.mark.long
async def test_several_pods_are_counted(models: Path) -> None:
    async with (
        Process("inference", HUB_MODELS=str(models)) as first,
        Process("inference", HUB_MODELS=str(models)) as second,
        running_gateway((first.address, second.address)) as gateway,
    ):

        def quick() -> list[tuple[str, str]]:
            entries = gateway.queries.index(ANYONE, ready=False).models
            return [(each.state, each.reason) for each in entries if each.name == "quick"]

        await eventually(lambda: quick() == [("READY", "2 of 2 pods")])
        second.send(signal.SIGKILL)
        await eventually(lambda: quick() == [("READY", "1 of 2 pods")])
        first.send(signal.SIGKILL)
        await eventually(lambda: quick() == [("UNAVAILABLE", "its pods accept no work")])


async def test_a_model_that_no_pod_has_yet_is_listed_with_the_reason() -> None:
    async with running_gateway(("127.0.0.1:1",), on_demand_models=("cpu/quick:4",)) as gateway:
        (found,) = gateway.queries.index(ANYONE, ready=False).models
        asleep = "its pool sleeps and has no pod, a request for the model wakes it"
        assert entry(found.name, found.version, found.state, found.reason) == entry(
            "quick", "", "UNAVAILABLE", asleep
        )
        assert not gateway.queries.index(ANYONE, ready=True).models
