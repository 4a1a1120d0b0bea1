"""GET /v2/models/{model}/config: the clients of Triton read the same from the gateway as from a pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from google.protobuf.json_format import MessageToDict

from inferencehub.core.oip.admin.message_json import message_json
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, mock_model, running_hub

MORE = """
dynamic_batching { max_queue_delay_microseconds: 9007199254740993 }
version_policy { all { } }
model_warmup { name: "w" batch_size: 1 inputs { key: "features" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } } }
"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    mock_model(tmp_path, "plain")
    mock_model(tmp_path, "more", slots=2, more=MORE)
    (tmp_path / "more" / "2").mkdir()
    async with running_hub(tmp_path, pods=2) as running:
        yield running


def by_http(address: str, model: str, version: str) -> Any:
    with triton_http.InferenceServerClient(address) as client:
        return client.get_model_config(model, version)


def by_grpc(address: str, model: str, version: str) -> bytes:
    with triton_grpc.InferenceServerClient(address) as client:
        config: bytes = client.get_model_config(model, version).SerializeToString()
        return config


@pytest.mark.parametrize(("model", "version"), [("plain", ""), ("more", ""), ("more", "1"), ("more", "2")])
async def test_all_clients_read_the_same_config(hub: Hub, model: str, version: str) -> None:
    gateway, pod = hub.url.removeprefix("http://"), f"127.0.0.1:{hub.pods[0].port}"
    sync = await asyncio.to_thread(by_http, gateway, model, version)
    async with triton_http_aio.InferenceServerClient(gateway) as client:
        assert await client.get_model_config(model, version) == sync
    data = await asyncio.to_thread(by_grpc, pod, model, version)
    assert message_json(pb.ModelConfigResponse.FromString(data).config) == sync
    async with triton_grpc_aio.InferenceServerClient(pod) as client:
        config = (await client.get_model_config(model, version)).config
        assert MessageToDict(config)["name"] == model
    assert (sync["name"], sync["backend"], sync["max_batch_size"]) == (model, "mock", 0)
    assert [tensor["dims"] for tensor in sync["input"]] == [[-1]]
    assert sync["instance_group"] == [
        {
            "name": f"{model}_0",
            "kind": "KIND_CPU",
            "count": 4 if model == "plain" else 2,
            "gpus": [],
            "secondary_devices": [],
            "profile": [],
            "passive": False,
            "host_policy": "",
        }
    ]
    if model == "more":
        assert sync["dynamic_batching"]["max_queue_delay_microseconds"] == 9007199254740993
        assert sync["version_policy"] == {"all": {}}
        assert sync["model_warmup"][0]["inputs"]["features"]["zero_data"] is True


async def test_what_is_not_there_is_refused(hub: Hub) -> None:
    status, answer, _ = await hub.get("/v2/models/none/config")
    assert (status, answer["error"][:23]) == (404, "model 'none' is unknown")
    status, answer, _ = await hub.get("/v2/models/more/versions/7/config")
    assert (status, answer["error"]) == (404, "model 'more' has no version '7', it has 1, 2")
    status, answer, headers = await hub.post("/v2/models/more/config")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


async def test_a_config_is_announced(hub: Hub) -> None:
    _, server, _ = await hub.get("/v2")
    assert "model_configuration" in server["extensions"]
