"""Calls of models over gRPC at the gateway: values, ids, errors, callers that leave, access lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from struct import pack, unpack
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from inferencehub.core.oip.admin.message_json import message_json
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.grpc_api.calling import Caller, calling, calling_gateway
from tests.hub import MODELS, eventually, mock_model, running_pod, write_model
from tests.inference.pod_processes import features
from tests.ports import free_port
from tests.written import request_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"out_" + name: array for name, array in inputs.items()}
"""
ARRAYS: dict[str, Any] = {
    "BOOL": np.array([True, False, True]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 2**16 - 1], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "FP16": np.array([1.5, -0.0, np.inf], np.float16),
    "FP32": np.array([1.5, -0.0, np.nan, np.inf], np.float32),
    "FP64": np.array([], np.float64),
    "BYTES": np.array([b"", b"\x00\xff", "字".encode()], np.object_),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    models: Path = tmp_path_factory.mktemp("models")
    mock_model(models)
    mock_model(models, "stuck", delay_ms=60_000, slots=1)
    write_model(models, "absent", 'backend: "onnxruntime"')
    tensors = [
        f'{way} {{ name: "{prefix}{name}" data_type: TYPE_{"STRING" if name == "BYTES" else name} dims: [-1] }}'
        for name in ARRAYS
        for way, prefix in (("input", ""), ("output", "out_"))
    ]
    write_model(models, "echo", 'backend: "python"\n' + "\n".join(tensors), {"1/model.py": ECHO})
    for sample in ("nearest-colour", "sentiment"):
        (models / sample).symlink_to(MODELS / sample)
    async with calling(models, default_model="quick", queue_length=1, max_body_bytes=100_000) as caller:
        yield caller


def inputs(client: Any) -> list[Any]:
    """All arrays as inputs of a client library."""
    made = []
    for name, array in ARRAYS.items():
        tensor = client.InferInput(name, list(array.shape), name)
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def check_echo(result: Any) -> None:
    """Fails unless the answer has each array as it was sent."""
    for name, array in ARRAYS.items():
        got = result.as_numpy(f"out_{name}")
        assert got.shape == array.shape
        assert got.tolist() == array.tolist() or np.array_equal(got, array, equal_nan=True), name
        if array.dtype.kind == "f":
            assert (np.signbit(got) == np.signbit(array)).all()


# --- clients, unmodified ---


async def test_the_asynchronous_client_gets_each_datatype_back(caller: Caller) -> None:
    async with triton_aio.InferenceServerClient(caller.address) as client:
        for compression in (None, "gzip", "deflate"):
            result = await client.infer(
                "echo", inputs(triton_aio), request_id="an-id", compression_algorithm=compression
            )
            check_echo(result)
            assert result.get_response().id == "an-id"


async def test_the_synchronous_client_and_its_callbacks_too(caller: Caller) -> None:
    def ask() -> None:
        with triton.InferenceServerClient(caller.address) as client:
            check_echo(client.infer("echo", inputs(triton), model_version="1"))
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("echo")
            assert client.is_model_ready("echo", "1")
            assert not client.is_model_ready("echo", "9")
            assert not client.is_model_ready("absent")
            assert not client.is_model_ready("nobody")

    await asyncio.to_thread(ask)


async def test_metadata_is_that_of_http(caller: Caller) -> None:
    url = f"http://127.0.0.1:{caller.gateway.port}"
    async with triton_aio.InferenceServerClient(caller.address) as client, aiohttp.ClientSession() as http:
        for path, ask in (
            ("/v2", client.get_server_metadata(as_json=True)),
            ("/v2/models/nearest-colour", client.get_model_metadata("nearest-colour", as_json=True)),
            (
                "/v2/models/nearest-colour/versions/1",
                client.get_model_metadata("nearest-colour", "1", as_json=True),
            ),
        ):
            async with http.get(url + path) as answer:
                found = await ask
                for tensor in (*found.get("inputs", ()), *found.get("outputs", ())):
                    tensor["shape"] = [int(dim) for dim in tensor["shape"]]
                assert found == await answer.json()
        for path, ask in (
            ("/v2/models/nearest-colour/config", client.get_model_config("nearest-colour")),
            ("/v2/models/nearest-colour/stats", client.get_inference_statistics("nearest-colour")),
            ("/v2/models/stats", client.get_inference_statistics()),
        ):
            async with http.get(url + path) as answer:
                message = await ask
                expected = await answer.json()
                assert (
                    message_json(message.config) if "config" in path else message_json(message)
                ) == expected
        index = message_json(await client.get_model_repository_index())
        async with http.post(url + "/v2/repository/index") as answer:
            assert index["models"] == await answer.json()
        states = {entry["name"]: entry["state"] for entry in index["models"]}
        assert (states["quick"], states["absent"]) == ("READY", "UNAVAILABLE")
        logs = await client.get_log_settings()
        async with http.get(url + "/v2/logging") as answer:
            found = {
                name: getattr(value, value.WhichOneof("parameter_choice"))
                for name, value in logs.settings.items()
            }
            assert found == await answer.json()


async def test_classification_as_over_http(caller: Caller) -> None:
    tensor = triton_aio.InferInput("rgb", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.array([[250, 10, 10]], np.float32))
    wanted = [triton_aio.InferRequestedOutput("scores", class_count=2)]
    async with triton_aio.InferenceServerClient(caller.address) as client, aiohttp.ClientSession() as http:
        result = await client.infer("nearest-colour", [tensor], outputs=wanted)
        body = {
            "inputs": [{"name": "rgb", "shape": [1, 3], "datatype": "FP32", "data": [250, 10, 10]}],
            "outputs": [{"name": "scores", "parameters": {"classification": 2}}],
        }
        url = f"http://127.0.0.1:{caller.gateway.port}/v2/models/nearest-colour/infer"
        async with http.post(url, json=body) as answer:
            expected = (await answer.json())["outputs"][0]
    got = result.as_numpy("scores")
    assert list(got.shape) == expected["shape"]
    assert [value.decode() for value in got.ravel()] == expected["data"]


async def test_typed_contents_are_taken_and_raw_ones_given(caller: Caller) -> None:
    message = pb.ModelInferRequest(model_name="quick", id="typed")
    tensor = message.inputs.add(name="features", datatype="FP32", shape=[3])
    tensor.contents.fp32_contents.extend([1, 2, 3])
    typed, raw = await caller.infer(message), await caller.infer(features("quick", 1, 2, 3))
    assert typed.raw_output_contents == raw.raw_output_contents
    assert len(raw.raw_output_contents) == 2
    assert (typed.id, raw.id) == ("typed", "")


async def test_predict_is_that_of_http(caller: Caller) -> None:
    async with aiohttp.ClientSession() as http:
        for body in (
            {"features": [250, 10, 10], "model_name": "nearest-colour"},
            {"text": "I love it", "model_name": "sentiment"},
            {"features": [1, 2]},
        ):
            answer = await caller.predict(predict_pb.PredictRequest(**body))
            async with http.post(f"http://127.0.0.1:{caller.gateway.port}/predict", json=body) as over_http:
                expected = await over_http.json()
            assert (answer.class_id, answer.label, answer.error) == (
                expected["class_id"],
                expected.get("label", ""),
                "",
            )
            assert answer.confidence == pytest.approx(expected["confidence"], abs=1e-6)
    for both in (predict_pb.PredictRequest(), predict_pb.PredictRequest(features=[1], text="a")):
        code, sentence, _ = await caller.refusal(caller.predict(both))
        assert code == "INVALID_ARGUMENT"
        assert sentence.startswith("expected either 'features'")


# --- ids, lines and metrics ---


async def test_the_request_id_is_in_the_trailers_and_the_line(caller: Caller) -> None:
    caller.written()
    call = caller.infer(features("quick", 1, id="own"), metadata=(("x-request-id", "abc"),))
    answer, trailers = await call, dict(await call.trailing_metadata())
    assert (answer.id, trailers["x-request-id"]) == ("own", "abc")
    assert trailers["x-served-by"].startswith("127.0.0.1:")
    line = await caller.line()
    assert line.items() >= {
        "event": "request", "front": "grpc", "id": "abc", "method": "ModelInfer", "code": "OK", "status": 200,
        "model": "quick", "kind": "ok", "batch": 1, "served_by": trailers["x-served-by"],
    }.items()  # fmt: skip
    for unsound in ("", "a b", "x" * 129):
        call = caller.infer(features("quick", 1), metadata=(("x-request-id", unsound),))
        await call
        made = dict(await call.trailing_metadata())["x-request-id"]
        assert made != unsound
        assert (await caller.line())["id"] == made


async def test_calls_are_counted_by_front_and_by_the_status_of_http(caller: Caller) -> None:
    name = "inferencehub_gateway_request_seconds_count"
    labels = {"front": "grpc", "model": "quick"}

    def counted(status: str) -> float:
        value = caller.gateway.metrics.registry.get_sample_value(name, {**labels, "status": status})
        return value or 0.0

    before = counted("200"), counted("400")
    await caller.infer(features("quick", 1))
    unread = await caller.refusal(caller.infer(pb.ModelInferRequest(model_name="quick")))
    assert unread[0] == "INVALID_ARGUMENT"
    assert counted("200") == before[0] + 1
    assert counted("400") == before[1]  # it was refused before its model was found to fit
    assert caller.gateway.metrics.in_flight == 0


# --- how calls fail ---


@pytest.mark.parametrize(
    ("message", "code", "sentence"),
    [
        (features("nobody", 1), "NOT_FOUND", "model 'nobody' is unknown, expected one of: absent, echo"),
        (pb.ModelInferRequest(model_name="quick", model_version="9"), "NOT_FOUND", "model 'quick' has no version '9'"),
        (pb.ModelInferRequest(), "INVALID_ARGUMENT", "model_name is missing"),
        (pb.ModelInferRequest(model_name="quick"), "INVALID_ARGUMENT", "model 'quick': input 'features' is missing"),
        (features("quick", 1, timeout=-1), "INVALID_ARGUMENT", "parameter 'timeout': expected microseconds"),
        (features("quick", 1, headers=1), "INVALID_ARGUMENT", "parameter 'headers' is reserved"),
        (features("quick", 1, hub_members="x"), "INVALID_ARGUMENT", "parameter 'hub_members' is reserved"),
        (features("quick", 1, sequence_id=7), "UNIMPLEMENTED", "parameter 'sequence_id' is 7"),
        (features("absent", 1), "UNAVAILABLE", "model 'absent' does not serve"),
        (features("quick", *[0.0] * 30_000), "INVALID_ARGUMENT", "the request has 1200"),
        (features("stuck", 1, timeout=50_000), "DEADLINE_EXCEEDED", "model 'stuck' gave no answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_an_error_has_its_code_and_its_sentence(
    caller: Caller, message: pb.ModelInferRequest, code: str, sentence: str
) -> None:
    caller.written()
    got, said, trailers = await caller.refusal(caller.infer(message))
    assert (got, said[: len(sentence)]) == (code, sentence)
    line = await caller.line()
    assert (line["code"], line["id"]) == (code, trailers["x-request-id"])
    assert ("grpc-retry-pushback-ms" in trailers) == (code == "UNAVAILABLE")


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("RepositoryModelLoad", "models are not loaded or unloaded through a gateway"),
        ("RepositoryModelUnload", "models are not loaded or unloaded through a gateway"),
        ("SystemSharedMemoryRegister", "shared memory is not supported"),
        ("CudaSharedMemoryRegister", "shared memory is not supported"),
    ],
)
async def test_a_call_that_is_not_there_says_so(caller: Caller, name: str, feature: str) -> None:
    answer = getattr(pb, f"{name}Response")
    code, sentence, _ = await caller.refusal(caller.method(name, answer)(b""))
    assert code == "UNIMPLEMENTED"
    assert sentence.startswith(feature)


@pytest.mark.parametrize(
    "name", ["SystemSharedMemoryStatus", "CudaSharedMemoryStatus", "SystemSharedMemoryUnregister"]
)
async def test_what_is_not_there_can_be_asked_for_and_ended(caller: Caller, name: str) -> None:
    answer = getattr(pb, f"{name}Response")
    assert await caller.method(name, answer)(b"") == answer()


async def test_a_caller_that_leaves_ends_the_pods_call(caller: Caller) -> None:
    caller.written()
    lane = caller.gateway.table.routes[("stuck", "")][0].lane
    call = caller.infer(features("stuck", 1))
    await eventually(lambda: lane.in_use.jobs == 1)
    call.cancel()
    await eventually(lambda: lane.idle)
    line = await caller.line()
    assert (line["kind"], line["status"], line["code"]) == ("caller_left", 499, "CANCELLED")
    assert caller.gateway.bytes_held.held == 0


async def test_a_full_lane_says_when_to_come_again(caller: Caller) -> None:
    calls = [asyncio.ensure_future(caller.infer(features("stuck", 1))) for _ in range(6)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for call in done:
        code, sentence, trailers = await caller.refusal(call)
        assert code == "RESOURCE_EXHAUSTED"
        assert "model 'stuck'" in sentence
        assert int(trailers["grpc-retry-pushback-ms"]) >= 1000
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    lane = caller.gateway.table.routes[("stuck", "")][0].lane
    await eventually(lambda: lane.idle)


@pytest.mark.parametrize("garbage", [b"\x0a\xff", b"\x0a\x02\xff\xff", b"\xff" * 50, b"\xff" * 60_000])
@pytest.mark.parametrize(
    "name", ["ModelReady", "ModelMetadata", "ModelConfig", "RepositoryIndex", "ModelInfer"]
)
async def test_bytes_that_are_no_message_are_bad_input(caller: Caller, name: str, garbage: bytes) -> None:
    code, sentence, _ = await caller.refusal(caller.method(name, pb.ModelInferResponse)(garbage))
    assert (code, sentence) == ("INVALID_ARGUMENT", f"the bytes that came are not a {name}Request")


async def test_a_model_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    mock_model(tmp_path)
    port = free_port()
    async with calling_gateway((f"127.0.0.1:{port}",), hold_s=30.0) as caller:
        assert not (await caller.method("ServerReady", pb.ServerReadyResponse)(b"")).ready
        call = asyncio.ensure_future(caller.infer(features("quick", 1, 2)))
        await eventually(lambda: "quick" in caller.gateway.unknown.held)
        async with running_pod(tmp_path, port=port):
            answer = await call
            assert (answer.model_name, len(unpack("<i", answer.raw_output_contents[0]))) == ("quick", 1)
            assert (await caller.method("ServerReady", pb.ServerReadyResponse)(b"")).ready


async def test_a_request_is_not_larger_than_over_http(caller: Caller) -> None:
    tensor = Tensor("features", "FP32", (20_000,), pack("<20000f", *[0.0] * 20_000))
    message = request_to_proto(InferRequest("quick", "", (tensor,)))
    assert message.ByteSize() < 100_000
    assert (await caller.infer(message)).model_name == "quick"
    message.id = "x" * 200_000
    code, _, _ = await caller.refusal(caller.infer(message))
    assert code == "RESOURCE_EXHAUSTED", "gRPC itself refuses what is more than twice as large"
