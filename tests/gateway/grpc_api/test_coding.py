"""gzip and deflate over gRPC, at the gateway and at the pod: values, what is compressed, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import resource
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.grpc_server.coding import decode
from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import open_inference_pb2 as pb
from tests.h2_caller import h2_caller
from tests.hub import Hub, eventually, running_hub, write_model
from tests.written import request_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 1_200_000
INFER = f"/{messages.SERVICE}/ModelInfer"
TIERS = ("gateway", "pod")
CODINGS = (grpc.Compression.Gzip, grpc.Compression.Deflate)
DOUBLE = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"] * 2}
"""
CONFIG = """backend: "python"
    input { name: "x" data_type: TYPE_FP64 dims: [-1] }
    output { name: "y" data_type: TYPE_FP64 dims: [-1] }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    write_model(models, "double", CONFIG, {"1/model.py": DOUBLE})
    async with running_hub(models, max_body_bytes=LIMIT, pod={"max_message_bytes": LIMIT}) as hub:
        yield hub


def port(hub: Hub, tier: str) -> int:
    return hub.gateway.grpc.port if tier == "gateway" else hub.pods[0].port


def held(hub: Hub, tier: str) -> int:
    return hub.gateway.bytes_held.held if tier == "gateway" else hub.pods[0].models.bytes_held.held


def double(array: Any) -> bytes:
    """A request of the model, serialized."""
    tensor = Tensor("x", "FP64", array.shape, array.tobytes())
    return request_to_proto(InferRequest("double", "", (tensor,))).SerializeToString()


def opened(data: bytes) -> bytes:
    """A message as it was before it was compressed."""
    return zlib.decompress(data, wbits=zlib.MAX_WBITS | 32) if data[:1] in (b"\x1f", b"\x78") else data


def channel_to(hub: Hub, tier: str, coding: Any) -> grpc.aio.Channel:
    """A channel that compresses, and shows answers as they came."""
    options = [("grpc.per_message_decompression", 0)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port(hub, tier)}", options, compression=coding)


ALIKE, NOISE = np.repeat(np.arange(20.0), 50), np.random.default_rng(1).random(1000)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("coding", CODINGS)
async def test_an_answer_is_compressed_if_its_request_was_and_it_pays(
    hub: Hub, tier: str, coding: Any
) -> None:
    first = b"\x1f" if coding is grpc.Compression.Gzip else b"\x78"
    async with channel_to(hub, tier, coding) as channel, channel_to(hub, tier, None) as plain:
        infer: Any = channel.unary_unary(INFER)
        ask_plain: Any = plain.unary_unary(INFER)
        for array, packed in ((ALIKE, True), (ALIKE[:100], False), (np.repeat(ALIKE, 100), False)):
            data = await infer(double(array))
            assert (data[:1] == first) == packed, "from 2 KiB on, and up to 128 KiB"
            answer = pb.ModelInferResponse.FromString(opened(data))
            assert (np.frombuffer(answer.raw_output_contents[0]) == array * 2).all()
            unasked = await ask_plain(double(array))
            assert pb.ModelInferResponse.FromString(unasked).raw_output_contents == answer.raw_output_contents
        noise = await infer(double(NOISE))
        assert len(noise) > NOISE.nbytes, "it would hardly get smaller"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("coding", CODINGS)
async def test_the_first_request_of_a_stream_decides_for_its_answers(
    hub: Hub, tier: str, coding: Any
) -> None:
    arrays = [ALIKE, ALIKE[:10], NOISE, ALIKE + 1]
    async with channel_to(hub, tier, coding) as channel:
        stream: Any = channel.stream_stream(messages.STREAM_METHOD)
        got = [data async for data in stream(iter([double(array) for array in arrays]))]
    assert [data[:1] in (b"\x1f", b"\x78") for data in got] == [True, False, False, True]
    for data, array in zip(got, arrays, strict=True):
        answer = pb.ModelStreamInferResponse.FromString(opened(data))
        assert answer.error_message == ""
        assert (np.frombuffer(answer.infer_response.raw_output_contents[0]) == array * 2).all()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize("tier", TIERS)
async def test_a_small_message_that_becomes_a_large_one_is_too_large_and_is_not_kept(
    hub: Hub, tier: str
) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join([packer.compress(bytes(2**20)) for _ in range(1000)]) + packer.flush()
    assert len(bomb) < LIMIT
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with h2_caller(port(hub, tier)) as caller:
        caller.read()
        for name in ("ModelInfer", "ModelMetadata"):
            number = caller.call(f"/{messages.SERVICE}/{name}", bomb, flag=1, grpc_encoding="gzip")
            trailers = await caller.until(number)
            assert trailers["grpc-status"] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
            assert trailers["grpc-message"].startswith(f"the request has more than {LIMIT} bytes")
        number = caller.call(messages.STREAM_METHOD, bomb, flag=1, grpc_encoding="gzip")
        assert (await caller.until(number))["grpc-status"] == "0"
        answer = pb.ModelStreamInferResponse.FromString(opened(caller.data[number][5:]))
        assert answer.error_message.startswith(f"the request has more than {LIMIT} bytes")
    await eventually(lambda: held(hub, tier) == 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", ["ModelInfer", "ModelConfig"])
async def test_a_message_that_is_compressed_wrongly_is_bad_input(hub: Hub, tier: str, name: str) -> None:
    whole = gzip.compress(double(ALIKE))
    wrong = {
        b"\x1f\x8b": "gzip",
        whole[:-1]: "gzip",
        whole[:-5] + b"12345": "gzip",
        whole + b"1": "gzip",
        zlib.compress(double(ALIKE))[:-3]: "deflate",
        b"\x78\x9c": "deflate",
        b"\xff" * 10: "gzip",
    }
    async with h2_caller(port(hub, tier)) as caller:
        caller.read()
        for data, encoding in wrong.items():
            number = caller.call(f"/{messages.SERVICE}/{name}", data, flag=1, grpc_encoding=encoding)
            trailers = await caller.until(number)
            assert trailers["grpc-status"] == "3", (data[:10], trailers)


@pytest.mark.parametrize("tier", TIERS)
async def test_health_and_reflection_read_compressed_requests(hub: Hub, tier: str) -> None:
    async with h2_caller(port(hub, tier)) as caller:
        caller.read()
        asked = gzip.compress(health_pb2.HealthCheckRequest(service="").SerializeToString())
        number = caller.call("/grpc.health.v1.Health/Check", asked, flag=1, grpc_encoding="gzip")
        assert (await caller.until(number))["grpc-status"] == "0"
        assert caller.data[number][5:] == health_pb2.HealthCheckResponse(status=1).SerializeToString()
        for version in ("v1", "v1alpha"):
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            number = caller.call(path, gzip.compress(b"\x3a\x01*"), flag=1, grpc_encoding="gzip")
            assert (await caller.until(number))["grpc-status"] == "0"
            assert messages.SERVICE.encode() in caller.data[number]
            number = caller.call(path, b"\xff\xff")
            assert (await caller.until(number))["grpc-status"] == "3"
            assert "ServerReflectionRequest" in caller.trailers[number]["grpc-message"]
    async with channel_to(hub, tier, grpc.Compression.Gzip) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest(service=""))).status == 1


async def test_a_large_message_is_decompressed_beside_the_loop() -> None:
    plain = bytes(30_000_000)
    decoding, passes = asyncio.create_task(decode(gzip.compress(plain), 2**26)), 0
    while not decoding.done():
        await asyncio.sleep(0)
        passes += 1
    assert decoding.result()[0] == plain
    assert passes > 10, "the loop goes on meanwhile"
