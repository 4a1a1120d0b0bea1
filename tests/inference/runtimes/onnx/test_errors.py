"""Errors of onnxruntime: what the caller's input caused is 400 in plain words, and its own log stays out of ours."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from inferencehub.core.values.errors import Kind
from inferencehub.inference.runtimes.onnx.errors import message_of, run_error
from tests.hub import ROOT, running_hub, write_model
from tests.onnx_files import FLOAT, INT64, STRING, model, node, one_node, tensor, tensor_type
from tests.ports import free_port

VECTOR, MATRIX, NUMBERS = tensor_type(FLOAT, ["n"]), tensor_type(FLOAT, ["n", "k"]), tensor_type(INT64, ["n"])
OTHER = tensor_type(FLOAT, ["m"])
ANY = tensor_type(FLOAT, None)
TOKENS = model(
    [node("Gather", ["words", "x"], ["y"])],
    {"x": NUMBERS},
    {"y": VECTOR},
    [tensor("words", FLOAT, [3], [1, 2, 3]), tensor("unused", FLOAT, [1], [1])],
)
FOURS = model(
    [node("Reshape", ["x", "four"], ["y"])],
    {"x": VECTOR},
    {"y": MATRIX},
    [tensor("four", INT64, [2], [-1, 4])],
)
CASES: list[tuple[bytes, dict[str, tuple[str, list[int], list[Any]]], str]] = [
    (
        TOKENS,
        {"x": ("INT64", [2], [1, 9])},
        "Gather: indices element out of data bounds, idx=9 must be within the inclusive range [-3,2]",
    ),
    (
        one_node("Add", {"x": VECTOR, "z": OTHER}, ANY),
        {"x": ("FP32", [3], [1, 2, 3]), "z": ("FP32", [4], [1, 2, 3, 4])},
        "Add: Attempting to broadcast an axis by a dimension other than 1. 3 by 4",
    ),
    (
        FOURS,
        {"x": ("FP32", [3], [1, 2, 3])},
        "Reshape: The input tensor cannot be reshaped to the requested shape. Input shape:{3}, requested shape:{-1,4}",
    ),
    (
        one_node("Unsqueeze", {"x": VECTOR, "axes": NUMBERS}, ANY),
        {"x": ("FP32", [1], [1]), "axes": ("INT64", [2], [0, 0])},
        "Unsqueeze: 'axes' has a duplicate axis",
    ),
    (
        one_node("Cast", {"x": tensor_type(STRING, ["n"])}, VECTOR, to=FLOAT),
        {"x": ("BYTES", [1], ["seven"])},
        "Cast: a text is not a number",
    ),
]


@pytest.mark.parametrize(
    ("content", "inputs", "sentence"), CASES, ids=["token", "add", "reshape", "axes", "cast"]
)
async def test_the_caller_s_input_is_the_caller_s_error(
    tmp_path: Path, content: bytes, inputs: dict[str, Any], sentence: str
) -> None:
    write_model(tmp_path, "m", "", {"1/model.onnx": content})
    body = {
        "inputs": [
            {"name": name, "datatype": dtype, "shape": shape, "data": data}
            for name, (dtype, shape, data) in inputs.items()
        ]
    }
    async with running_hub(tmp_path) as hub:
        status, answer, _ = await hub.post("/v2/models/m/infer", body)
    assert (status, answer) == (400, {"error": f"model 'm' does not take this input: {sentence}"})


async def test_a_token_that_is_unknown_fails_alone_in_a_batch(tmp_path: Path) -> None:
    write_model(tmp_path, "m", "max_batch_size: 8", {"1/model.onnx": TOKENS})

    def body(token: int) -> dict[str, Any]:
        return {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [token]}]}

    async with running_hub(tmp_path) as hub:
        answers = await asyncio.gather(
            *[hub.post("/v2/models/m/infer", body(token)) for token in (0, 1, 7, 2, 0)]
        )
    assert [status for status, _, _ in answers] == [200, 200, 400, 200, 200]
    assert [answer["outputs"][0]["data"] for status, answer, _ in answers if status == 200] == [
        [1],
        [2],
        [3],
        [1],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Shape(99) node with name ''",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Expand node. "
        "Name:'' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
        "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of "
        "size 70368744177664",
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Loop node. Name:'' Status "
        "Message: it broke",
        "std::bad_alloc",
    ],
)
def test_what_no_input_explains_is_the_model_s_error(text: str) -> None:
    error = run_error("m", Exception(text))
    assert (error.kind, error.detail) == (
        Kind.MODEL_FAILED,
        "model 'm' failed on this request; its pod's log says why",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running ConstantOfShape node. "
            "Name:'/a/b' Status Message: /onnxruntime_src/onnxruntime/core/framework/op_kernel.cc:87 virtual OrtValue* "
            "onnxruntime::OpKernelContext::OutputMLValue(int, const onnxruntime::TensorShape&) [ONNXRuntimeError] : 1 "
            ": FAIL : tensor.cc:57 CalculateTensorStorageSize Tensor shape.Size() must be >= 0\n",
            "ConstantOfShape: Tensor shape.Size() must be >= 0",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/onnxruntime/core/"
            "providers/cpu/text/string_normalizer.cc:235 onnxruntime::StringNormalizer::Locale::Locale(const "
            "std::string&)::<lambda()> Failed to construct locale with name:en_US.UTF-8:locale::facet::"
            "_S_create_c_locale name not valid:Please, install necessary language-pack-XX and configure locales\n",
            "Failed to construct locale with name:en_US.UTF-8 name not valid:Please, install necessary "
            "language-pack-XX and configure locales",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Div node. Name:'' Status "
            "Message: element_wise_ops.cc:703 Compute Integer division by zero",
            "Div: Integer division by zero",
        ),
        ("", "onnxruntime gives no reason"),
    ],
)
def test_a_sentence_has_nothing_of_the_source_code(text: str, sentence: str) -> None:
    assert message_of(Exception(text)) == sentence


async def test_stderr_has_lines_of_json_only(tmp_path: Path) -> None:
    write_model(tmp_path, "m", "", {"1/model.onnx": TOKENS})
    write_model(tmp_path, "broken", "", {"1/model.onnx": b"no model"})
    write_model(tmp_path, "unknown", "", {"1/model.onnx": one_node("Nothing", {"x": VECTOR}, VECTOR)})
    port = free_port()
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "services"), "HUB_MODELS": str(tmp_path)}
    environ |= {"PORT": str(port), "HUB_OPS_PORT": "0", "HUB_DRAIN_WAIT_S": "0", "HUB_LOG_FORMAT": "json"}
    pod = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inferencehub.inference", env=environ, cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert pod.stderr is not None
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(30):
            while not lines or b'"model ready"' not in lines[-1]:
                lines.append(await pod.stderr.readline())
        async with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            tokens = triton.InferInput("x", [1], "INT64")
            tokens.set_data_from_numpy(np.array([9]))
            with pytest.raises(InferenceServerException, match="idx=9 must be within"):
                await client.infer("m", [tokens])
    finally:
        pod.terminate()
        lines += (await pod.stderr.read()).splitlines()
        await pod.wait()
    events = [json.loads(line)["event"] for line in lines]
    assert {"model ready", "model unavailable", "model refused its input"} <= set(events)
