"""ModelStreamInfer for callers, at the gateway and at the pod: order, ids, errors, the final flag, bounds and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from struct import pack, unpack
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.gateway.grpc_api.stream import MOST_WAITING
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub, running_pod, write_model
from tests.written import request_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOUBLE = """
import time

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        x = inputs["x"]
        if x[0] < 0:
            raise ValueError("negative")
        time.sleep(float(x[0]) / 1000)
        return {"y": x * 2}
"""
CONFIG = """backend: "python"
    input { name: "x" data_type: TYPE_FP32 dims: [-1] }
    output { name: "y" data_type: TYPE_FP32 dims: [-1] }
    instance_group { count: 2 kind: KIND_CPU }"""
TIERS = ("gateway", "pod")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models: Path = tmp_path_factory.mktemp("models")
    write_model(models, "double", CONFIG, {"1/model.py": DOUBLE})
    mock_model(models, "stuck", delay_ms=60_000, slots=1)
    mock_model(models, "second", delay_ms=1000, slots=1)
    return models


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(models: Path) -> AsyncIterator[Hub]:
    async with running_hub(models, max_body_bytes=50_000, pod={"max_message_bytes": 50_000}) as hub:
        yield hub


def address(hub: Hub, tier: str) -> str:
    return f"127.0.0.1:{hub.gateway.grpc.port if tier == 'gateway' else hub.pods[0].port}"


def double(*values: float, id: str = "", model: str = "double", **parameters: Any) -> pb.ModelInferRequest:
    name = "x" if model == "double" else "features"
    tensor = Tensor(name, "FP32", (len(values),), pack(f"<{len(values)}f", *values))
    message = request_to_proto(InferRequest(model, "", (tensor,), (), parameters))
    message.id = id
    return message


def stream_of(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(messages.STREAM_METHOD, None, pb.ModelStreamInferResponse.FromString)


async def ask(address: str, sent: Iterable[pb.ModelInferRequest | bytes]) -> list[Any]:
    """All answers of a stream whose caller half-closes after its last request."""
    data = [one if isinstance(one, bytes) else one.SerializeToString() for one in sent]
    async with grpc.aio.insecure_channel(address) as channel:
        call = stream_of(channel)(iter(data))
        answers = [answer async for answer in call]
        assert await call.code() is grpc.StatusCode.OK
        return answers


def number(answer: Any) -> float:
    value: float = unpack("<f", answer.infer_response.raw_output_contents[0])[0]
    return value


@pytest.mark.parametrize("tier", TIERS)
async def test_answers_come_in_the_order_of_the_requests(hub: Hub, tier: str) -> None:
    waits = [50, 0, 20, 1, 0, 30, 2]
    answers = await ask(address(hub, tier), [double(ms, id=f"n{at}") for at, ms in enumerate(waits)])
    assert [number(answer) for answer in answers] == [2 * ms for ms in waits]
    assert [answer.infer_response.id for answer in answers] == [f"n{at}" for at in range(len(waits))]


@pytest.mark.parametrize("tier", TIERS)
async def test_an_error_ends_its_request_and_not_the_stream(hub: Hub, tier: str) -> None:
    sent: list[pb.ModelInferRequest | bytes] = [
        double(1, id="good"),
        double(-1, id="fails"),
        double(1, id="unknown", model="nobody"),
        b"\x0a\xff",
        pb.ModelInferRequest(model_name="double", id="no-input"),
        pb.ModelInferRequest(model_name="double", id="x" * 60_000),
        double(2, id="last"),
    ]
    found = await ask(address(hub, tier), sent)
    assert [answer.infer_response.id for answer in found] == [
        "good", "fails", "unknown", "", "no-input", "", "last"
    ]  # fmt: skip
    errors = [answer.error_message for answer in found]
    assert errors[0] == errors[-1] == ""
    assert errors[1] == "model 'double': negative"
    assert errors[2].startswith("model 'nobody' is unknown, expected one of: double")
    assert errors[3] == "the bytes that came are not a ModelInferRequest"
    assert errors[4].startswith("model 'double': input 'x' is missing")
    assert errors[5].endswith(" bytes, expected at most 50000")
    assert [number(found[0]), number(found[-1])] == [2, 4]
    # As Triton 2.51 does: each answer of a model is final, and so is its failure; what was refused before has only its id.
    final = [
        answer.infer_response.parameters["triton_final_response"].bool_param
        if "triton_final_response" in answer.infer_response.parameters
        else None
        for answer in found
    ]
    assert final == [True, True, None, None, None, None, True]
    assert found[1].infer_response.model_name == "double"


@pytest.mark.parametrize("tier", TIERS)
async def test_tritonclient_streams_as_it_is(hub: Hub, tier: str) -> None:
    def tensor(value: float) -> list[Any]:
        made = triton.InferInput("x", [1], "FP32")
        made.set_data_from_numpy(np.array([value], np.float32))
        return [made]

    def with_callbacks() -> list[tuple[Any, Any]]:
        got: list[tuple[Any, Any]] = []
        with triton.InferenceServerClient(address(hub, tier)) as client:
            client.start_stream(lambda result, error: got.append((result, error)))
            for at in range(20):
                client.async_stream_infer(
                    "double", tensor(at % 3), request_id=str(at), enable_empty_final_response=at % 2 == 0
                )
            client.async_stream_infer("double", tensor(-1), request_id="bad")
            client.stop_stream()  # waits for all answers
        return got

    got = await asyncio.to_thread(with_callbacks)
    assert [result.get_response().id for result, error in got[:-1]] == [str(at) for at in range(20)]
    assert [result.as_numpy("y").tolist() for result, _ in got[:-1]] == [[2 * (at % 3)] for at in range(20)]
    assert str(got[-1][1]) == "model 'double': negative"

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for at in range(5):
            yield {"model_name": "double", "inputs": tensor(at), "request_id": f"aio-{at}"}

    async with triton_aio.InferenceServerClient(address(hub, tier)) as client:
        at = 0
        async for result, error in client.stream_infer(requests()):
            assert error is None
            assert (result.get_response().id, result.as_numpy("y").tolist()) == (f"aio-{at}", [2 * at])
            at += 1
        assert at == 5


@pytest.mark.parametrize("tier", TIERS)
async def test_a_caller_that_cancels_its_stream_ends_the_calls_at_the_pod(hub: Hub, tier: str) -> None:
    stuck = hub.pods[0].models.get("stuck")
    async with grpc.aio.insecure_channel(address(hub, tier)) as channel:
        call = stream_of(channel)()
        await call.write(double(1, model="stuck").SerializeToString())
        await eventually(lambda: stuck.free == 0)
        call.cancel()
        await eventually(lambda: stuck.free == 1)
    await eventually(lambda: hub.gateway.metrics.in_flight == 0)
    assert hub.gateway.bytes_held.held == 0


async def test_a_stream_has_its_deadline(hub: Hub) -> None:
    async with grpc.aio.insecure_channel(address(hub, "gateway")) as channel:
        call = stream_of(channel)(timeout=0.3)
        await call.write(double(1, model="stuck").SerializeToString())
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        limited = double(1, id="late", model="stuck", timeout=100_000)
        (answer,) = await ask(address(hub, "gateway"), [limited])
        assert answer.error_message.startswith("model 'stuck' gave no answer")
        assert answer.infer_response.id == "late"
    await eventually(lambda: hub.gateway.metrics.in_flight == 0)


async def test_a_stream_that_is_fast_is_held_back_and_not_refused(hub: Hub) -> None:
    most = 0
    data = [double(at % 2, id=str(at)).SerializeToString() for at in range(300)]
    async with grpc.aio.insecure_channel(address(hub, "gateway")) as channel:
        answers = []
        async for answer in stream_of(channel)(iter(data)):
            most = max(most, hub.gateway.metrics.in_flight)
            answers.append(answer)
    assert [answer.error_message for answer in answers] == [""] * 300
    assert [answer.infer_response.id for answer in answers] == [str(at) for at in range(300)]
    assert 1 < most <= MOST_WAITING


async def test_a_gateway_that_ends_answers_what_it_has_read(models: Path, hub: Hub) -> None:
    async with (
        running_gateway((f"127.0.0.1:{hub.pods[0].port}",), drain_timeout_s=30.0) as gateway,
        grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc.port}") as channel,
    ):
        await eventually(lambda: gateway.fleet.serves)
        call = stream_of(channel)()
        for id in ("one", "two"):
            await call.write(double(1, id=id, model="second").SerializeToString())
        await eventually(lambda: gateway.metrics.in_flight == 2)
        ending = asyncio.create_task(gateway.stop())
        answers = [await call.read(), await call.read()]
        assert [answer.infer_response.id for answer in answers] == ["one", "two"]
        assert [answer.error_message for answer in answers] == ["", ""]
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "the server ends" in await call.details()
        await ending


async def test_a_pod_that_ends_answers_what_it_has_read(models: Path) -> None:
    async with (
        running_pod(models, drain_timeout_s=30.0) as pod,
        grpc.aio.insecure_channel(f"127.0.0.1:{pod.port}") as channel,
    ):
        call = stream_of(channel)()
        await call.write(double(1, id="one", model="second").SerializeToString())
        await eventually(lambda: pod.models.get("second").free == 0)
        ending = asyncio.create_task(pod.stop())
        answer = await call.read()
        assert (answer.infer_response.id, answer.error_message) == ("one", "")
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        await ending
