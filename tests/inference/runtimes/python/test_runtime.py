"""Python models in real processes: their answers, and what callers read of their exceptions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from inferencehub.core.oip.predict import predict_request
from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.values.errors import Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.signature import ModelInfo
from inferencehub.core.values.tensors import Tensor, pack_bytes, unpack_bytes
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.runtime import ModelSource
from inferencehub.inference.runtimes.support.arrays import to_array
from tests.hub import MODELS
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import (
    ACTOR,
    CONFIG,
    ask,
    asked,
    loaded,
    pid_of,
    refusal,
    source,
)


async def test_answers_over_calls_of_all_sizes(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        assert await ask(runtime, "double", [1, 2, 3]) == [2, 4, 6]
        assert await ask(runtime, "parameter gain") == [3]
        assert await ask(runtime, "aligned") == [1]
        assert await ask(runtime, "double", []) == []
        for size in (2**14 - 3, 2**14, 2**15, 2**15 + 1, 3_000_001):
            x = np.arange(size, dtype=np.float32)
            (output,) = await run_once(runtime, 0, asked("double", x), monotonic() + 20)
            np.testing.assert_array_equal(to_array(output), x * 2)
        assert await ask(runtime, "count") == [10]


@pytest.mark.parametrize("size", [2, 3_000_001])
async def test_a_model_may_change_its_inputs(tmp_path: Path, size: int) -> None:
    code = ACTOR.replace("return x * 2", "x -= 1; return x")
    async with loaded(source(tmp_path, code)) as runtime:
        x = np.arange(size, dtype=np.float32)
        for _ in range(2):
            (output,) = await run_once(runtime, 0, asked("double", x), monotonic() + 20)
            np.testing.assert_array_equal(to_array(output), np.arange(size) - 1)


async def test_an_input_behind_one_of_odd_size_may_be_changed(tmp_path: Path) -> None:
    config = """
        backend: "python"
        input [ { name: "odd" data_type: TYPE_UINT8 dims: [ 3 ] }, { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
        output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
    """
    code = """
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        for array in inputs.values():
            array += 1
        return {"y": inputs["x"]}
"""
    odd = Tensor("odd", "UINT8", (3,), bytes(3))
    x = Tensor("x", "FP32", (2,), np.array([1.5, -2], np.float32).tobytes())
    async with loaded(source(tmp_path, code, config)) as runtime:
        (output,) = await run_once(runtime, 0, InferRequest("m", "1", (odd, x)), monotonic() + 20)
        assert to_array(output).tolist() == [2.5, -1.0]


async def test_a_model_s_command_line_is_its_file(tmp_path: Path) -> None:
    code = "import sys\nAT_IMPORT = list(sys.argv)\n" + ACTOR
    async with loaded(source(tmp_path, code, CONFIG % "TYPE_STRING")) as runtime:
        (output,) = await run_once(runtime, 0, asked("gives AT_IMPORT + sys.argv"), monotonic() + 20)
        assert unpack_bytes(output.data) == [b"model.py", b"model.py"]


async def test_what_the_model_prints_is_no_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with loaded(source(tmp_path)) as runtime:
        assert await ask(runtime, "prints") == [1, 2]
    captured = capfd.readouterr()
    assert not captured.out
    assert not captured.err
    assert "".join(caplog.messages).count("noise") == 11_001


async def test_rows_and_text(tmp_path: Path) -> None:
    config = """
        backend: "python" max_batch_size: 4
        input [ { name: "words" data_type: TYPE_STRING dims: [ 2 ] } ]
        output [ { name: "joined" data_type: TYPE_STRING dims: [ 1 ] },
                 { name: "bytes" data_type: TYPE_STRING dims: [ 2 ] },
                 { name: "length" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    """
    code = """
import numpy as np
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        words = inputs["words"]
        joined = [[" ".join(word.decode() for word in row)] for row in words]
        return {"length": np.char.str_len(joined), "joined": joined, "bytes": words[:, ::-1], "more": 1}
"""
    words = [[b"gr\xc3\xbcn", b""], [b"a\0", b"b"]]
    flat = [word for row in words for word in row]
    async with loaded(source(tmp_path, code, config)) as runtime:
        request = InferRequest("m", "1", (Tensor("words", "BYTES", (2, 2), pack_bytes(flat)),))
        joined, reverse, length = await run_once(runtime, 0, request, monotonic() + 20)
    assert (joined.name, joined.shape, unpack_bytes(joined.data)) == (
        "joined",
        (2, 1),
        ["grün ".encode(), b"a\0 b"],
    )
    assert unpack_bytes(reverse.data) == [b"", b"gr\xc3\xbcn", b"b", b"a\0"]
    assert (length.dtype, length.shape, bytes(length.data)) == ("UINT8", (2, 1), b"\5\4")


async def test_instances_run_at_the_same_time(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, instances=2)) as runtime:
        await asyncio.gather(ask(runtime, "meet a b", number=0), ask(runtime, "meet b a", number=1))
        assert pid_of(runtime, 0) != pid_of(runtime, 1)


FAILED = "model 'm' failed on this request; its pod's log says why"


async def test_a_callers_part_of_an_exception_is_that_there_was_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with loaded(source(tmp_path)) as runtime:
        error = await refusal(runtime, "raises failure")
        assert (error.kind, error.detail) == (Kind.MODEL_FAILED, FAILED)
        (record,) = [record for record in caplog.records if hasattr(record, "traceback")]
        assert vars(record)["model"] == "m"
        assert "in raises" in vars(record)["traceback"]
        assert f"OSError: failure at {tmp_path}" in vars(record)["traceback"]
        assert "more" in vars(record)["traceback"]
        assert "worker.py" not in vars(record)["traceback"]
        assert (await refusal(runtime, "sys_exit")).detail == FAILED
        assert runtime.recovery(0) is None
        assert await ask(runtime, "count") == [3]


async def test_a_value_error_is_a_sentence_for_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with loaded(source(tmp_path)) as runtime:
        caplog.clear()
        error = await refusal(runtime, "raises refusal")
        assert (error.kind, error.detail) == (Kind.BAD_INPUT, "model 'm': refusal at model.py")
        (record,) = [record for record in caplog.records if record.levelname != "DEBUG"]
        assert (record.levelname, record.message) == ("INFO", "model refused")
        assert (vars(record)["model"], vars(record)["detail"]) == ("m", "model 'm': refusal at model.py")
        assert "traceback" not in vars(record)
        # One in the declared outputs is the model's own fault.
        assert (await refusal(runtime, "gives np.array([b'a'])")).kind is Kind.MODEL_FAILED


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("inputs, parameters", {"word": "a", "whole": 2, "part": 0.5, "yes": True}),
        ("inputs, parameters=None", {"word": "a", "whole": 2, "part": 0.5, "yes": True}),
        ("inputs", {}),
        ("inputs, *, parameters={}", {}),
        ("*inputs, parameters={}", {}),
    ],
)
async def test_parameters_reach_a_predict_that_takes_them(
    tmp_path: Path, arguments: str, given: dict[str, bool | int | float | str]
) -> None:
    config = """
        backend: "python"
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: "y" data_type: TYPE_STRING dims: [ 1 ] } ]
    """
    code = f"""
class Model:
    def __init__(self, directory, config): pass
    def predict(self, {arguments}):
        return {{"y": [repr(sorted(locals().get("parameters", {{}}).items()))]}}
"""
    async with loaded(source(tmp_path, code, config)) as runtime:
        x = Tensor("x", "FP32", (1,), bytes(4))
        parameters: dict[str, bool | int | float | str] = {"word": "a", "whole": 2, "part": 0.5, "yes": True}
        (output,) = await run_once(
            runtime, 0, InferRequest("m", "1", (x,), parameters=parameters), monotonic() + 20
        )
        assert unpack_bytes(output.data) == [repr(sorted(given.items())).encode()]
        (output,) = await run_once(runtime, 0, InferRequest("m", "1", (x,)), monotonic() + 20)
        assert unpack_bytes(output.data) == [b"[]"]


async def test_a_model_is_found_beside_its_files_and_writes_none(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("GAIN = 5")
    code = "from beside import GAIN\n" + ACTOR.replace("x * 2", "x * GAIN")
    async with loaded(source(tmp_path, code)) as runtime:
        assert await ask(runtime, "double") == [5, 10]
    assert not (tmp_path / "__pycache__").exists()


async def test_the_example_names_colours() -> None:
    directory = MODELS / "nearest-colour"
    config = parse_config((directory / "config.pbtxt").read_text(), directory.name)
    runtime = Python(
        ModelSource(directory.name, "1", directory / "1", directory / "1" / "model.py", config, 1)
    )
    signature = await runtime.load()
    info = ModelInfo(directory.name, "1", "python", signature, parameters=(("predict_label", "label"),))
    try:
        for features, label in (([250, 10, 10], "red"), ([10, 5, 20], "black"), ([0, 200, 240], "cyan")):
            request = predict_request(info, "1", [float(value) for value in features], None)
            checked, _ = signature.check(request)
            outputs = await run_once(runtime, 0, checked, monotonic() + 20)
            prediction = read_prediction(info, InferResponse(directory.name, "1", outputs))
            assert prediction.label == label
            assert prediction.confidence > 0.9
    finally:
        await runtime.unload()
