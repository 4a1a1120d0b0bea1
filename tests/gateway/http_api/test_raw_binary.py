"""A raw binary request: a body without JSON, and an answer whose outputs are all binary, as Triton gives them."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.hub import Hub, running_hub, write_model

CONFIG = """backend: "python"
max_batch_size: %d
input { name: "x" data_type: %s dims: [ -1 ] }
output { name: "y" data_type: %s dims: [ -1 ] }"""
ECHO = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""
RAW = {"Inference-Header-Content-Length": "0", "content-type": "application/octet-stream"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """Models that return their input."""
    models: Path = tmp_path_factory.mktemp("models")
    write_model(models, "rows", CONFIG % (8, "TYPE_FP32", "TYPE_FP32"), {"1/model.py": ECHO})
    write_model(models, "text", CONFIG % (0, "TYPE_STRING", "TYPE_STRING"), {"1/model.py": ECHO})
    async with running_hub(models, hold_s=20.0) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(hub: Hub, model: str, body: bytes) -> tuple[int, bytes, str]:
    """Status, body and size of its JSON."""
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{hub.url}/v2/models/{model}/infer", data=body, headers=RAW) as answer,
    ):
        size = answer.headers.get("Inference-Header-Content-Length", "")
        return answer.status, await answer.read(), size


async def test_numbers_come_back(hub: Hub) -> None:
    data = struct.pack("<3f", 1.5, -2, float("nan"))
    status, body, size = await ask(hub, "rows", data)
    text, raw = body[: int(size)], body[int(size) :]
    assert (status, raw) == (200, data)
    assert json.loads(text) == {
        "model_name": "rows",
        "model_version": "1",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
        ],
    }


async def test_a_large_body_comes_back(hub: Hub) -> None:
    data = bytes(range(256)) * 8192
    status, body, size = await ask(hub, "rows", data)
    assert (status, body[int(size) :]) == (200, data)


async def test_text_is_one_element(hub: Hub) -> None:
    status, body, size = await ask(hub, "text", b"\xff text")
    assert (status, body[int(size) :]) == (200, b"\6\0\0\0\xff text")


async def test_a_body_that_does_not_fit_and_a_model_that_nobody_knows(hub: Hub) -> None:
    status, body, _ = await ask(hub, "rows", bytes(11))
    assert (status, json.loads(body)["error"]) == (
        400,
        "model 'rows': input 'x' takes a multiple of 4 bytes, got 11",
    )
    status, body, _ = await ask(hub, "nobody", bytes(4))
    assert (status, "model 'nobody' is unknown" in json.loads(body)["error"]) == (404, True)
