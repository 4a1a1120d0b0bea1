"""ONNX files and their configs: they must agree, and each disagreement has its sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.onnx.runtime import Onnx
from inferencehub.inference.runtimes.onnx.specs import DTYPES
from inferencehub.inference.runtimes.runtime import ModelSource
from tests.hub import MODELS
from tests.inference.runtimes.one_answer import run_once
from tests.onnx_files import (
    BFLOAT16,
    BOOL,
    FLOAT,
    FLOAT16,
    INT64,
    STRING,
    UINT64,
    field,
    model,
    node,
    one_node,
    tensor_type,
)

INPUT = 'input { name: "input" data_type: TYPE_FP32 dims: [ 64 ] } '
OUTPUT = 'output { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] } '


def digits(directory: Path, config: str) -> Onnx:
    """The digits model under another config."""
    (directory / "1").mkdir()
    file = Path(shutil.copy(MODELS / "digits" / "1" / "model.onnx", directory / "1"))
    return Onnx(ModelSource("m", "1", file.parent, file, parse_config(config, "m"), 1))


async def signature(directory: Path, config: str) -> Signature:
    runtime = digits(directory, config)
    try:
        return await runtime.load()
    finally:
        await runtime.unload()


FILE_SAYS = Signature(
    (TensorSpec("input", "FP32", (-1, 64)),), (TensorSpec("probabilities", "FP32", (-1, 10)),)
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", FILE_SAYS),
        ("max_batch_size: 8", Signature(FILE_SAYS.inputs, FILE_SAYS.outputs, 8)),
        (f"max_batch_size: 8 {INPUT} {OUTPUT}", Signature(FILE_SAYS.inputs, FILE_SAYS.outputs, 8)),
        # Without a batch rule the config may narrow what the file leaves open.
        (
            INPUT.replace("[ 64 ]", "[ 5, 64 ]"),
            Signature((TensorSpec("input", "FP32", (5, 64)),), FILE_SAYS.outputs),
        ),
    ],
)
async def test_a_config_may_repeat_or_narrow_the_file(
    tmp_path: Path, config: str, expected: Signature
) -> None:
    assert await signature(tmp_path, config) == expected


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            INPUT.replace('"input"', '"pixels"'),
            "config.pbtxt: input 'pixels' is not in the model, which has ['input']",
        ),
        (
            f"max_batch_size: 8 {OUTPUT}".replace("probabilities", "scores"),
            "config.pbtxt: output 'scores' is not in the model, which has ['probabilities']",
        ),
        (
            f"max_batch_size: 8 {INPUT}".replace("FP32", "FP64"),
            "config.pbtxt: input 'input' is FP64 [-1, 64], in the model FP32 [-1, 64]",
        ),
        (
            f"max_batch_size: 8 {INPUT}".replace("64", "63"),
            "config.pbtxt: input 'input' is FP32 [-1, 63], in the model FP32 [-1, 64]",
        ),
        (INPUT, "config.pbtxt: input 'input' is FP32 [64], in the model FP32 [-1, 64]"),
        (
            f"max_batch_size: 8 {OUTPUT}".replace("10", "-1"),
            "config.pbtxt: output 'probabilities' is FP32 [-1, -1], in the model FP32 [-1, 10]",
        ),
    ],
)
async def test_a_config_that_disagrees_is_refused(tmp_path: Path, config: str, sentence: str) -> None:
    with pytest.raises(HubError) as caught:
        await signature(tmp_path, config)
    assert (caught.value.kind, caught.value.detail) == (Kind.BAD_INPUT, sentence)


def onnx(directory: Path, content: bytes, config: str = "") -> Onnx:
    """A model of its own file."""
    (directory / "1").mkdir()
    file = directory / "1" / "model.onnx"
    file.write_bytes(content)
    return Onnx(ModelSource("m", "1", file.parent, file, parse_config(config, "m"), 1))


async def refusal(runtime: Onnx) -> tuple[Kind, str]:
    with pytest.raises(HubError) as caught:
        await runtime.load()
    await runtime.unload()
    return caught.value.kind, caught.value.detail


async def test_a_batch_needs_a_first_dimension_that_is_variable(tmp_path: Path) -> None:
    kind = tensor_type(FLOAT, [3, 64])
    runtime = onnx(tmp_path, one_node("Identity", {"x": kind}, kind), "max_batch_size: 8")
    assert await refusal(runtime) == (
        Kind.BAD_INPUT,
        "config.pbtxt: max_batch_size 8, but 'x' has shape [3, 64] in the model, whose first dimension is not variable",
    )


@pytest.mark.parametrize(
    ("element", "dtype"), [(FLOAT16, "FP16"), (BOOL, "BOOL"), (STRING, "BYTES"), (UINT64, "UINT64")]
)
async def test_types_of_the_file_become_the_protocol_s(tmp_path: Path, element: int, dtype: str) -> None:
    kind = tensor_type(element, ["batch", "", 3])
    runtime = onnx(tmp_path, one_node("Identity", {"x": kind}, kind))
    spec = TensorSpec("x", dtype, (-1, -1, 3))
    assert await runtime.load() == Signature((spec,), (replace(spec, name="y"),))
    assert len(set(DTYPES.values())) == len(DTYPES) == 13
    await runtime.unload()


async def test_a_type_that_is_not_in_the_protocol_is_refused(tmp_path: Path) -> None:
    kind = tensor_type(BFLOAT16, ["n"])
    assert await refusal(onnx(tmp_path, one_node("Identity", {"x": kind}, kind))) == (
        Kind.UNSUPPORTED,
        "input 'x' of the model is a tensor(bfloat16), which is not supported",
    )


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08\x3a\x00"])
async def test_a_file_that_is_no_model_says_so_without_its_directory(tmp_path: Path, content: bytes) -> None:
    runtime = digits(tmp_path, "")
    runtime.source.file.write_bytes(content)
    with pytest.raises(HubError) as caught:
        await runtime.load()
    assert caught.value.kind is Kind.MODEL_FAILED
    assert caught.value.detail.startswith("model.onnx cannot be loaded: ")
    assert len(caught.value.detail) > len("model.onnx cannot be loaded: ")
    assert "/" not in caught.value.detail
    await runtime.unload()


async def test_a_run_that_fails_is_told_in_our_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer is a text that is no UTF-8."""
    words = field(1, 1) + field(2, STRING) + field(8, "words") + field(6, b"\xff")
    index = {"x": tensor_type(INT64, ["n"])}
    content = model(
        [node("Gather", ["words", "x"], ["y"])], index, {"y": tensor_type(STRING, ["n"])}, [words]
    )
    runtime = onnx(tmp_path, content)
    await runtime.load()
    request = InferRequest("m", "1", (Tensor("x", "INT64", (1,), bytes(8)),))
    with pytest.raises(HubError) as caught:
        await run_once(runtime, 0, request, 0.0)
    assert (caught.value.kind, caught.value.detail) == (
        Kind.MODEL_FAILED,
        "model 'm' failed on this request; its pod's log says why",
    )
    assert "decode byte 0xff" in vars(caplog.records[-1])["detail"]
    await runtime.unload()
