"""The pod's gRPC edge: ids in access lines, how calls end, what is refused, and the sentences of errors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
import tritonclient.grpc.aio as triton
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from inferencehub.core.oip import messages
from inferencehub.core.values.parameters import RESERVED
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.inference.grpc_api.call import Call
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually, mock_model, write_model
from tests.inference.pod_processes import calling_pod, features, predict_of
from tests.written import request_to_proto


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with a quick mock model and a slow one."""
    mock_model(tmp_path, "quick")
    mock_model(tmp_path, "slow", delay_ms=60_000)
    return tmp_path


def texts(*elements: bytes, id: str = "", members: str = "") -> Any:
    """A request of the sentiment model, one text a row."""
    tensor = Tensor("text", "BYTES", (len(elements), 1), pack_bytes(elements))
    message = request_to_proto(InferRequest("sentiment", "", (tensor,)))
    message.id = id
    if members:
        message.parameters["hub_members"].string_param = members
    return message


async def test_the_request_id_is_in_the_access_line(models: Path) -> None:
    metadata = (("x-request-id", "from-metadata"),)
    async with calling_pod(models) as pod:
        await pod.infer(features("quick", 1, id="own"), metadata=metadata)
        assert (await pod.line())["id"] == "own"
        await pod.infer(features("quick", 1), metadata=metadata)
        assert (await pod.line())["id"] == "from-metadata"
        await pod.infer(features("quick", 1, hub_members='[[1, 60000000, "member"]]'), metadata=metadata)
        assert (await pod.line())["id"] == "member"
        await pod.infer(features("quick", 1, id="own", hub_members='[[1, 60000000, ""]]'))
        assert (await pod.line())["id"] == "own"
        # A call that is refused before it is a job has its id too.
        assert (await pod.refusal(features("quick", id="bad", headers=1)))[0] == "INVALID_ARGUMENT"
        line = await pod.line()
        assert (line["id"], line["status"]) == ("bad", "bad_input")


async def test_all_ids_of_a_merged_call_are_in_its_line_and_none_makes_it_long() -> None:
    async with calling_pod() as pod:
        await pod.infer(
            texts(b"a", b"b", b"c", members='[[1, 60000000, "x"], [1, 60000000, ""], [1, 0, "late"]]')
        )
        line = await pod.line()
        assert (line["id"], line["rows"], line["batch"]) == ("x,,late", 3, 2)
        long = f'[[1, 60000000, "{"y" * 500}"], [1, 60000000, "z"]]'
        await pod.infer(texts(b"a", b"b", members=long))
        assert (await pod.line())["id"] == "y" * 128 + ",z"
        many = ", ".join([f'[1, 60000000, "{"y" * 500}"]'] * 64)
        await pod.infer(texts(*[b"a"] * 64, members=f"[{many}]"))
        assert len((await pod.line())["id"]) == 2000
        await pod.infer(texts(b"a", id="w" * 9000))
        assert (await pod.line())["id"] == "w" * 128


async def test_who_calls_is_in_the_line_of_a_merged_call_once(models: Path) -> None:
    """Older gateways send no callers, and newer ones may send more than this pod knows."""
    async with calling_pod() as pod:
        listed = '[1, 60000000, "1", "ci", "search"], [1, 60000000, "2"], [1, 60000000, "3", "web", "search", "later"]'
        await pod.infer(texts(b"a", b"b", b"c", members=f"[{listed}]"))
        line = await pod.line()
        assert (line["id"], line["caller"], line["tenant"]) == ("1,2,3", "ci,web", "search")
        await pod.infer(texts(b"a"))
        line = await pod.line()
        assert (line["caller"], line["tenant"]) == ("", "")


class Context:
    """What the servicer asks a call for."""

    def time_remaining(self) -> float | None:
        return None

    def invocation_metadata(self) -> None:
        return None


async def test_only_a_cancelled_call_counts_as_cancelled(models: Path) -> None:
    async with calling_pod(models) as pod:
        call = pod.infer(features("slow", 1))
        await eventually(lambda: pod.server.models.get("slow").free == 3)
        call.cancel()
        assert (await pod.line())["status"] == "cancelled"
        assert (await pod.refusal(features("slow", 1), timeout=0.1))[0] == "DEADLINE_EXCEEDED"
        assert (await pod.line())["status"] == "deadline"

        def reply(response: object) -> Any:
            raise RuntimeError("not foreseen")

        servicer, quick = pod.server.servicer, pod.server.models.get("quick")
        request = messages.request_from_proto(features("quick", 1))
        with pytest.raises(RuntimeError):
            await servicer.infer(Call(quick, "", Context(), monotonic()), request, "", reply)
        assert (await pod.line())["status"] == "model_failed"


async def test_an_output_that_is_named_twice_is_refused() -> None:
    async with calling_pod() as pod:
        request = texts(b"fine")
        for name in ("label", "class_id", "label"):
            request.outputs.add(name=name)
        sentence = "model 'sentiment': expected each output once, got ['label', 'class_id', 'label']"
        assert await pod.refusal(request) == ("INVALID_ARGUMENT", sentence)
        del request.outputs[2]
        answer = await pod.infer(request)
        assert [output.name for output in answer.outputs] == ["label", "class_id"]


async def test_an_answer_beyond_the_limit_is_the_model_s_failure_in_our_words() -> None:
    async with calling_pod(max_message_bytes=1024) as pod:
        assert (await pod.infer(texts(*[b"a"] * 30))).outputs[0].shape == [30, 1]
        assert (await pod.line())["status"] == "ok"
        code, sentence = await pod.refusal(texts(*[b"a"] * 60))
        assert code == "INTERNAL"
        # 60 classes, confidences and labels of seven letters
        assert (
            sentence
            == f"model 'sentiment' gave an answer of {60 * (4 + 4 + 4 + 7)} bytes, more than the limit 1024"
        )
        assert (await pod.line())["status"] == "model_failed"


async def test_an_answer_of_predict_beyond_the_limit_too(tmp_path: Path) -> None:
    write_model(
        tmp_path,
        "wordy",
        """backend: "python"
        input { name: "x" data_type: TYPE_FP32 dims: [-1] }
        output [ { name: "scores" data_type: TYPE_FP32 dims: [2] }, { name: "label" data_type: TYPE_STRING dims: [1] } ]
        parameters { key: "predict_label" value { string_value: "label" } }""",
        {
            "1/model.py": "class Model:\n"
            "    def __init__(self, directory, parameters): pass\n"
            "    def predict(self, inputs): return {'scores': [0.0, 1.0], 'label': ['a' * int(inputs['x'][0])]}"
        },
    )
    async with calling_pod(tmp_path, max_message_bytes=2000) as pod:
        predict = predict_of(pod.channel)
        answer = await predict(predict_pb.PredictRequest(model_name="wordy", features=[50]))
        assert (answer.class_id, answer.label) == (1, "a" * 50)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await predict(predict_pb.PredictRequest(model_name="wordy", features=[3000]))
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "more than the limit 2000" in (caught.value.details() or "")


@pytest.mark.parametrize(
    ("fields", "got"), [({}, "neither"), ({"features": [1], "text": "a"}, "both"), ({"text": ""}, "neither")]
)
async def test_predict_takes_numbers_or_a_text(models: Path, fields: dict[str, Any], got: str) -> None:
    async with calling_pod(models) as pod:
        for name in ("quick", "unknown", ""):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await predict_of(pod.channel)(predict_pb.PredictRequest(model_name=name, **fields))
            assert (caught.value.code(), caught.value.details()) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                f"expected either 'features' (numbers) or 'text' (a string), got {got}",
            )


@pytest.mark.parametrize("name", sorted(RESERVED))
async def test_parameters_that_no_model_may_have_are_refused(models: Path, name: str) -> None:
    async with calling_pod(models) as pod:
        message = features("quick", 1)
        message.parameters[name].int64_param = 1
        answer = await pod.refusal(message)
        assert answer == (
            "INVALID_ARGUMENT",
            f"parameter '{name}' is reserved, expected 'timeout' or parameters of the model",
        )


METHODS = ("ServerReady", "ModelReady", "ModelMetadata", "ModelConfig", "RepositoryIndex", "ModelInfer")
PATHS = [f"/{messages.SERVICE}/{name}" for name in METHODS] + [
    "/inference.ModelInference/Predict",
    "/grpc.health.v1.Health/Check",
]


# A length that ends too early, text that is not UTF-8 (ServerReady has no text), and no field at all.
GARBAGE = [(path, data) for path in PATHS for data in (b"\x0a\xff", b"\x0a\x02\xff\xff", b"\xff" * 50)]
GARBAGE.remove((PATHS[0], b"\x0a\x02\xff\xff"))


@pytest.mark.parametrize(("path", "garbage"), GARBAGE)
async def test_bytes_that_are_no_message_are_bad_input(models: Path, path: str, garbage: bytes) -> None:
    async with calling_pod(models) as pod:
        ask: Any = pod.channel.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(garbage)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "the bytes that came are not a" in (caught.value.details() or "")


async def test_a_watch_of_no_message_is_bad_input(models: Path) -> None:
    async with calling_pod(models) as pod:
        watch: Any = pod.channel.unary_stream("/grpc.health.v1.Health/Watch")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch(b"\x0a\xff").read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_request_that_is_too_large_gets_a_sentence(models: Path) -> None:
    async with calling_pod(models, max_message_bytes=100_000) as pod:
        largest = pb.ModelInferRequest(model_name="quick")
        largest.id = "x" * 99_985
        assert largest.ByteSize() <= 100_000
        assert "input 'features' is missing" in (await pod.refusal(largest))[1]
        largest.id = "x" * 150_000
        assert await pod.refusal(largest) == (
            "INVALID_ARGUMENT",
            f"the request has {largest.ByteSize()} bytes, expected at most 100000",
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pod.infer(largest)
        assert ("hub-kind", "too_large") in tuple(caught.value.trailing_metadata() or ())
        largest.id = "x" * 250_000
        assert (await pod.refusal(largest))[0] == "RESOURCE_EXHAUSTED", "gRPC itself refuses it"


async def test_an_unknown_model_is_not_ready(models: Path) -> None:
    async with calling_pod(models) as pod, triton.InferenceServerClient(pod.address) as client:
        assert await client.is_model_ready("quick")
        assert await client.is_model_ready("quick", "1")
        assert not await client.is_model_ready("quick", "7")
        assert not await client.is_model_ready("nobody")


async def test_empty_typed_contents_beside_raw_contents_are_none(models: Path) -> None:
    async with calling_pod(models) as pod:
        message = features("quick", 1)
        message.inputs[0].contents.SetInParent()
        plain = await pod.infer(features("quick", 1))
        assert (await pod.infer(message)).raw_output_contents == plain.raw_output_contents
        message.inputs[0].contents.fp32_contents.append(1.0)
        assert (await pod.refusal(message))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("letter", ["n", "字", "😀"])
async def test_no_sentence_is_longer_than_grpc_takes(models: Path, letter: str) -> None:
    name = letter * 20_000
    async with calling_pod(models) as pod:
        code, sentence = await pod.refusal(features(name, 1))
        assert (code, sentence) == (
            "NOT_FOUND",
            f"model '{letter * 80}' is unknown, expected one of: quick, slow",
        )
        message = features("quick", 1)
        message.model_version = name
        code, sentence = await pod.refusal(message)
        assert (code, sentence) == ("NOT_FOUND", f"model 'quick' has no version '{letter * 80}', it has 1")
        message = features("quick", 1)
        message.inputs[0].name = name
        code, sentence = await pod.refusal(message)
        assert code == "INVALID_ARGUMENT"
        assert len(sentence.encode()) <= 1000
        assert sentence.startswith("model 'quick': input 'features' is missing")
        message.inputs[0].datatype = name
        code, sentence = await pod.refusal(message)
        assert code == "INVALID_ARGUMENT"
        assert len(sentence.encode()) <= 1000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pod.health(name)
        assert caught.value.details() == f"service '{letter * 80}' is unknown"


async def test_a_stop_while_a_model_runs_ends(models: Path) -> None:
    async with asyncio.timeout(30):
        async with calling_pod(models, drain_timeout_s=0.2) as pod:
            call = asyncio.ensure_future(pod.infer(features("slow", 1)))
            await eventually(lambda: pod.server.models.get("slow").free == 3)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call


@pytest.mark.parametrize("size", [2, 100_000])
async def test_bytes_that_are_no_message_are_refused_as_bad_input(models: Path, size: int) -> None:
    async with calling_pod(models) as pod:
        infer: Any = pod.channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await infer(b"\xff" * size)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "the bytes that came are not a ModelInferRequest"


async def test_reflection_answers_in_both_versions() -> None:
    """The messages of v1 are those of v1alpha, so one client's classes read both."""
    async with calling_pod() as pod:
        for version in ("v1", "v1alpha"):
            service = f"grpc.reflection.{version}.ServerReflection"
            ask: Any = pod.channel.stream_stream(
                f"/{service}/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )
            questions = [reflection_pb2.ServerReflectionRequest(list_services="")]
            symbols = (messages.SERVICE, "inference.ModelInference", "grpc.health.v1.Health", service)
            questions += [
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in symbols
            ]
            listed, *files = [answer async for answer in ask(iter(questions))]
            assert {entry.name for entry in listed.list_services_response.service} >= set(symbols)
            for name, answer in zip(symbols, files, strict=True):
                file = FileDescriptorProto.FromString(
                    answer.file_descriptor_response.file_descriptor_proto[0]
                )
                assert name in [f"{file.package}.{one.name}" for one in file.service]


async def test_reflection_can_be_turned_off() -> None:
    async with calling_pod(reflection=False) as pod:
        ask: Any = pod.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask().read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_bytes_that_are_no_question_of_reflection_are_refused_with_a_sentence(version: str) -> None:
    good = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    async with calling_pod() as pod:
        ask: Any = pod.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        )
        call = ask(iter([good, b"\xff"]))
        assert await call.read() is not grpc.aio.EOF
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "the bytes that came are not a ServerReflectionRequest",
        )
