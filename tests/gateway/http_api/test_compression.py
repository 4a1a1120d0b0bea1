"""Compressed requests and answers: what is taken, what is given, and that other calls do not wait for it."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

from inferencehub.core.http1.coding.deflate import coding_for
from tests.hub import Hub, mock_model, running_hub, write_model

ECHO = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""
CONFIG = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }"""
INFER = "/v2/models/echo/infer"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    write_model(tmp_path, "echo", CONFIG, {"1/model.py": ECHO})
    async with running_hub(tmp_path) as running:
        yield running


def body(size: int, binary: bool = False) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [size], "datatype": "FP32", "data": [float(n % 7) for n in range(size)]}
    return {"inputs": [tensor], "parameters": {"binary_data_output": binary}}


async def asked(hub: Hub, accepted: str, request: dict[str, Any]) -> tuple[Any, bytes]:
    """Headers and body of an answer as they came, not decompressed."""
    options: dict[str, Any] = {
        "headers": {"Accept-Encoding": accepted},
        "skip_auto_headers": ["Accept-Encoding"],
    }
    if not accepted:
        options["headers"] = {}
    async with hub.client.post(hub.url + INFER, json=request, **options) as answer:
        assert answer.status == 200
        raw = await answer.read()
        return answer.headers, raw


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("GZIP;Q=0.8, deflate;q=0.7", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "gzip"),
        ("*;q=0.5, gzip;q=0", "deflate"),
        ("gzip;q=0", ""),
        ("gzip;q=0.4, identity;q=0.5", ""),
        ("identity", ""),
        ("br", ""),
        ("", ""),
        ("gzip;q=high", ""),
        ("gzip;q=1.5", ""),
        ("gzip;level=1", "gzip"),
        ("gzip;level=1;q=0, deflate", "deflate"),
        (";;,", ""),
    ],
)
def test_the_coding_is_the_one_that_the_caller_likes_best(accepted: str, coding: str) -> None:
    assert coding_for(accepted.encode()) == coding.encode()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("size", [3000, 100_000])  # in the loop, and in a thread
@pytest.mark.parametrize("coding", ["gzip", "deflate", ""])
async def test_large_answers_are_compressed_as_the_caller_accepts(
    hub: Hub, coding: str, size: int, binary: bool
) -> None:
    hub.client._auto_decompress = False
    headers, raw = await asked(hub, coding, body(size, binary))
    assert headers.get("Content-Encoding", "") == coding
    assert headers["Vary"] == "accept-encoding"
    assert int(headers["Content-Length"]) == len(raw)
    unpack: Any = {"gzip": gzip.decompress, "deflate": zlib.decompress, "": bytes}[coding]
    plain = unpack(raw)
    assert len(raw) < len(plain) / 2 or not coding
    _, other = await asked(hub, "", body(size, binary))
    assert plain == other
    if binary:
        length = int(headers["Inference-Header-Content-Length"])
        assert plain[:1] == b"{"
        values = np.frombuffer(plain[length:], np.float32)
        np.testing.assert_array_equal(values, np.arange(size, dtype=np.float32) % 7)


async def test_what_does_not_get_smaller_is_sent_as_it_is(hub: Hub) -> None:
    hub.client._auto_decompress = False
    headers, _ = await asked(hub, "gzip", body(10))
    assert "Content-Encoding" not in headers
    noise = np.random.default_rng(1).integers(0, 2**32, 40_000, np.uint32).view(np.float32)
    noise = np.where(np.isfinite(noise), noise, np.float32(0))
    with triton.InferenceServerClient(hub.url.removeprefix("http://")) as client:
        tensor = triton.InferInput("x", [len(noise)], "FP32")
        tensor.set_data_from_numpy(noise)
        answer = await asyncio.to_thread(
            client.infer, "echo", [tensor], response_compression_algorithm="gzip"
        )
        np.testing.assert_array_equal(answer.as_numpy("y"), noise)


@pytest.mark.parametrize("to_server", ["gzip", "deflate", None])
@pytest.mark.parametrize("to_client", ["gzip", "deflate", None])
async def test_clients_of_triton_compress_both_ways(
    hub: Hub, to_server: str | None, to_client: str | None
) -> None:
    values = np.arange(50_000, dtype=np.float32) % 11
    address = hub.url.removeprefix("http://")
    options = {"request_compression_algorithm": to_server, "response_compression_algorithm": to_client}

    def sync(binary: bool) -> Any:
        tensor = triton.InferInput("x", [len(values)], "FP32")
        tensor.set_data_from_numpy(values, binary_data=binary)
        outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
        with triton.InferenceServerClient(address) as client:
            return client.infer("echo", [tensor], outputs=outputs, **options).as_numpy("y")

    for binary in (True, False):
        np.testing.assert_array_equal(await asyncio.to_thread(sync, binary), values)
    async with triton_aio.InferenceServerClient(address) as client:
        tensor = triton_aio.InferInput("x", [len(values)], "FP32")
        tensor.set_data_from_numpy(values)
        answer = await client.infer("echo", [tensor], **options)
        np.testing.assert_array_equal(answer.as_numpy("y"), values)


async def test_deflate_is_taken_with_and_without_its_header(hub: Hub) -> None:
    text = str(body(50)).replace("'", '"').replace("False", "false").encode()
    for level in range(10):
        raw = zlib.compressobj(level, wbits=-15)
        stream = raw.compress(text) + raw.flush()
        for packed in (zlib.compress(text, level), stream):
            status, answer, _ = await hub.post(INFER, packed, headers={"Content-Encoding": "deflate"})
            assert status == 200, (level, answer)
            assert answer["outputs"][0]["shape"] == [50]
    for broken in (b"", b"x", b"\x78", text, zlib.compress(text)[:-1], stream[:-1], stream + b"x"):
        status, answer, _ = await hub.post(INFER, broken, headers={"Content-Encoding": "deflate"})
        assert status == 400, broken
        assert answer["error"]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
async def test_other_codings_are_refused_with_those_that_are_taken(hub: Hub, coding: str) -> None:
    for path in (INFER, "/predict", "/v2/repository/index"):
        status, answer, _ = await hub.post(path, b"{}", headers={"Content-Encoding": coding})
        assert status == 415
        said = f"content-encoding '{coding}' is not taken, expected gzip, deflate or identity"
        assert answer["error"] == said


async def test_large_pages_are_compressed(hub: Hub) -> None:
    hub.client._auto_decompress = False
    for coding, unpack in (("gzip", gzip.decompress), ("deflate", zlib.decompress), ("br", bytes)):
        headers = {"Accept-Encoding": coding}
        async with hub.client.get(hub.url + "/openapi.json", headers=headers) as answer:
            assert answer.headers.get("Content-Encoding", "br") == coding
            assert answer.headers["Vary"] == "accept-encoding"
            assert unpack(await answer.read())[:10] == b'{"openapi"'


async def test_answers_about_models_are_plain_for_the_asyncio_client_of_triton(tmp_path: Path) -> None:
    """It accepts gzip in all of its calls, as aiohttp does by itself, and decompresses the answers of infer alone."""
    names = [f"a-model-with-quite-a-long-name-{number}" for number in range(30)]
    for name in names:
        mock_model(tmp_path, name)
    tensors = [
        CONFIG.replace('"x"', f'"x{n}"').replace('"y"', f'"y{n}"').partition("\n")[2] for n in range(30)
    ]
    write_model(tmp_path, "wide", "\n".join(['backend: "python"', *tensors]), {"1/model.py": ECHO})
    async with (
        running_hub(tmp_path) as hub,
        triton_aio.InferenceServerClient(hub.url.removeprefix("http://")) as client,
    ):
        config, metadata = await client.get_model_config("wide"), await client.get_model_metadata("wide")
        assert [tensor["name"] for tensor in config["input"]] == [f"x{n}" for n in range(30)]
        assert [tensor["name"] for tensor in metadata["outputs"]] == [f"y{n}" for n in range(30)]
        index, statistics = await client.get_model_repository_index(), await client.get_inference_statistics()
        assert {entry["name"] for entry in index} == {*names, "wide"}
        assert {entry["name"] for entry in statistics["model_stats"]} == {*names, "wide"}
        assert min(len(str(answer)) for answer in (config, metadata, index, statistics)) > 2048
