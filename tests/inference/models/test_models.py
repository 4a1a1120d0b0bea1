"""A pod with good and bad models side by side, seen by health checks, reflection and tritonclient."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException

from tests.hub import MODELS, mock_model, write_model
from tests.inference.pod_processes import Pod, calling_pod, features

BROKEN = "class Model:\n    def __init__(self, directory, parameters):\n        open(directory / 'weights')\n"
PYTHON = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }"""
REASONS = {
    "broken": "model.py cannot be loaded, line 3: [Errno 2] No such file or directory: 'weights'",
    "empty": "model 'empty' has no version directory (a whole number, such as '1')",
    "ensemble": "config.pbtxt sets 'ensemble_scheduling', expected platform: \"ensemble\" with it",
    "garbled": "model.onnx cannot be loaded: Load model from model.onnx failed:Protobuf parsing failed.",
    "zero": "config.pbtxt: classes is 0, expected 1 or more, as many as INT32 holds",
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with two good models and one of each kind of bad ones."""
    repository = tmp_path / "models"
    mock_model(repository, "quick")
    shutil.copytree(MODELS / "digits", repository / "digits")
    mock_model(repository, "zero", more='parameters { key: "classes" value { string_value: "0" } }')
    write_model(repository, "broken", PYTHON, {"1/model.py": BROKEN})
    write_model(repository, "ensemble", "ensemble_scheduling { }")
    write_model(repository, "garbled", 'backend: "onnxruntime"', {"1/model.onnx": b"no model"})
    (repository / "empty").mkdir()
    return repository


async def test_bad_models_say_why_and_their_neighbours_serve(models: Path) -> None:
    async with calling_pod(models) as pod, triton.InferenceServerClient(pod.address) as client:
        assert {
            name: await pod.health(name) for name in ("", "probe/ready", "quick", "digits", *REASONS)
        } == {
            **dict.fromkeys(("", "probe/ready", "quick", "digits"), True),
            **dict.fromkeys(REASONS, False),
        }
        index = await client.get_model_repository_index()
        assert {model.name: (model.state, model.reason) for model in index.models} == {
            "quick": ("READY", ""),
            "digits": ("READY", ""),
            **{name: ("UNAVAILABLE", reason) for name, reason in REASONS.items()},
        }
        for name, reason in REASONS.items():
            refused = ("UNAVAILABLE", f"model '{name}' does not serve: {reason}")
            assert await pod.refusal(features(name, 1)) == refused
            assert not await client.is_model_ready(name)
        assert (await pod.infer(features("quick", 1))).model_name == "quick"


async def test_required_models_decide_whether_the_pod_is_ready(models: Path) -> None:
    async with calling_pod(models, required_models=("quick", "broken")) as pod:
        assert [await pod.health(name) for name in ("", "probe/ready", "quick", "broken")] == [
            False,
            False,
            True,
            False,
        ]
        assert [await pod.health(name) for name in ("probe/started", "probe/live")] == [True, True]
        assert pod.server.not_ready() == "required models do not serve: broken"
        assert (await pod.infer(features("quick", 1))).model_name == "quick"
    async with calling_pod(models, required_models=("quick", "digits")) as pod:
        assert await pod.health()


async def test_a_pod_without_a_model_that_serves_is_not_ready(tmp_path: Path) -> None:
    async with calling_pod(tmp_path) as pod:
        assert not await pod.health()
        assert pod.server.not_ready() == "no model serves"
        assert await pod.refusal(features("any", 1)) == (
            "NOT_FOUND",
            "model 'any' is unknown, expected one of: none",
        )


async def test_reflection_lists_the_services_and_their_methods(models: Path) -> None:
    def reflected(address: str) -> tuple[set[str], set[str]]:
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
            (service,) = [each for each in file.service if each.name == "GRPCInferenceService"]
            assert database.FindFileContainingSymbol("inference.ModelInference").package == "inference"
            return set(database.get_services()), {method.name for method in service.method}

    async with calling_pod(models) as pod:
        services, methods = await asyncio.to_thread(reflected, pod.address)
    assert services == {
        "inference.GRPCInferenceService",
        "inference.ModelInference",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert {"ServerLive", "ModelInfer", "ModelConfig", "RepositoryIndex"} <= methods


async def test_tritonclient_reads_what_a_pod_says_of_its_models(models: Path) -> None:
    async with calling_pod(models) as pod, triton.InferenceServerClient(pod.address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        server = await client.get_server_metadata(as_json=True)
        assert server["name"] == "inferencehub"
        assert "model_configuration" in server["extensions"]
        assert await client.get_model_metadata("digits", as_json=True) == {
            "name": "digits",
            "versions": ["1"],
            "platform": "onnxruntime",
            "inputs": [{"name": "input", "datatype": "FP32", "shape": ["-1", "64"]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "10"]}],
        }
        config = (await client.get_model_config("digits", as_json=True))["config"]
        assert (config["name"], config["backend"], config["max_batch_size"]) == ("digits", "onnxruntime", 64)
        assert [group["count"] for group in config["instance_group"]] == [1]


def pixels(rows: int, raw: bool) -> triton.InferInput:
    """An input of digits as tritonclient sends it, or with typed contents as people write it."""
    tensor = triton.InferInput("input", [rows, 64], "FP32")
    values = np.arange(rows * 64, dtype=np.float32).reshape(rows, 64) % 17
    tensor.set_data_from_numpy(values)
    if not raw:
        tensor._raw_content = None
        tensor._input.contents.fp32_contents.extend(values.ravel().tolist())
    return tensor


async def test_raw_and_typed_contents_get_the_same_answer(models: Path) -> None:
    async with calling_pod(models) as pod, triton.InferenceServerClient(pod.address) as client:
        answers = []
        for raw in (True, False):
            answer = await client.infer("digits", [pixels(3, raw)], model_version="1", request_id="abc")
            assert (answer.get_response().model_version, answer.get_response().id) == ("1", "abc")
            answers.append(answer.as_numpy("probabilities"))
        assert answers[0].shape == (3, 10)
        np.testing.assert_allclose(answers[0].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(*answers)


Ask = Callable[[triton.InferenceServerClient], Any]
REFUSALS: dict[str, tuple[Ask, str, str]] = {
    "model": (
        lambda c: c.infer("none", [pixels(1, True)]),
        "NOT_FOUND",
        "model 'none' is unknown, expected one of: ",
    ),
    "version": (
        lambda c: c.infer("digits", [pixels(1, True)], model_version="7"),
        "NOT_FOUND",
        "model 'digits' has no version '7', it has 1",
    ),
    "metadata": (lambda c: c.get_model_metadata("none"), "NOT_FOUND", "model 'none' is unknown"),
    "config": (lambda c: c.get_model_config("zero"), "UNAVAILABLE", "model 'zero' does not serve: "),
    "rows": (
        lambda c: c.infer("digits", [pixels(65, True)]),
        "INVALID_ARGUMENT",
        "model 'digits': 65 rows in the request, expected 1 to 64",
    ),
    "output": (
        lambda c: c.infer("digits", [pixels(1, True)], outputs=[triton.InferRequestedOutput("none")]),
        "INVALID_ARGUMENT",
        "model 'digits': unknown output 'none', expected one of ['probabilities']",
    ),
    "input": (
        lambda c: c.infer("quick", [pixels(1, True)]),
        "INVALID_ARGUMENT",
        "model 'quick': input 'features' is",
    ),
    "sequence": (
        lambda c: c.infer("digits", [pixels(1, True)], sequence_id=5),
        "UNIMPLEMENTED",
        "parameter 'sequence_id' is 5, which is not supported, expected 0: there are no sequences",
    ),
    "load": (lambda c: c.load_model("digits"), "UNIMPLEMENTED", ""),
}


async def test_errors_have_the_protocol_s_codes(models: Path) -> None:
    async with calling_pod(models) as pod, triton.InferenceServerClient(pod.address) as client:
        for case, (ask, code, sentence) in REFUSALS.items():
            with pytest.raises(InferenceServerException) as caught:
                await ask(client)
            assert caught.value.status() == f"StatusCode.{code}", case
            assert caught.value.message().startswith(sentence), case


CLOSES = """
import os, time
class Model:
    def __init__(self, directory, parameters): self.meeting = directory.parents[2] / "meeting"
    def predict(self, inputs): return {"y": inputs["x"]}
    def close(self):
        self.meeting.mkdir(exist_ok=True)
        (self.meeting / f"{os.getpid()}").touch()
        while len(list(self.meeting.iterdir())) < 4: time.sleep(0.001)
        (self.meeting.parent / f"closed-{os.getpid()}").touch()
"""


async def test_models_are_unloaded_side_by_side(tmp_path: Path) -> None:
    for number in range(4):
        write_model(tmp_path / "models", f"m{number}", PYTHON, {"1/model.py": CLOSES})
    async with calling_pod(tmp_path / "models") as pod:
        assert all([await pod.health(f"m{number}") for number in range(4)])
    closed = [name for name in os.listdir(tmp_path) if name.startswith("closed-")]
    assert len(closed) == 4


async def test_versions_answer_under_their_own_numbers(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick", more="version_policy { all { } }")
    (tmp_path / "quick" / "3").mkdir()

    async def version(pod: Pod, asked: str) -> str:
        request = features("quick", 1)
        request.model_version = asked
        return str((await pod.infer(request)).model_version)

    async with calling_pod(tmp_path) as pod:
        assert [await version(pod, asked) for asked in ("", "1", "3")] == ["3", "1", "3"]
