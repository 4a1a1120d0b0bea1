"""Warm-up: only what `model_warmup` asks for is run, and what fails there is a line in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferencehub.core.values.tensors import DTYPES, pack_bytes
from tests.hub import running_hub, running_pod, write_model
from tests.onnx_files import FLOAT, INT32, INT64, model, node, one_node, tensor, tensor_type

RECORDER = """
import json
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.seen = []

    def predict(self, inputs):
        array = inputs["x"]
        if array.size and array.dtype == np.float32 and array.ravel()[0] == 66:
            raise RuntimeError("broken by 66")
        if array.size and array.dtype == np.float32 and array.ravel()[0] == 67:
            import os
            os._exit(3)
        values = [item.decode() if isinstance(item, bytes) else float(item) for item in array.ravel().tolist()]
        self.seen.append([list(array.shape), values])
        text = json.dumps(self.seen[:-1])
        return {"y": np.array([[text]] * len(array), dtype=object)}
"""


def recorder(repository: Path, dtype: str, warmup: str, files: dict[str, bytes] | None = None) -> None:
    """A Python model of rows of 2 elements that tells which inputs it saw before."""
    name = "STRING" if dtype == "BYTES" else dtype
    config = f"""backend: "python" max_batch_size: 8
        input {{ name: "x" data_type: TYPE_{name} dims: [ 2 ] }}
        output {{ name: "y" data_type: TYPE_STRING dims: [ 1 ] }}
        {warmup}"""
    write_model(repository, "recorder", config, {"1/model.py": RECORDER, **(files or {})})


def trial(dtype: str, source: str, batch: int = 1, count: str = "", dims: str = "2") -> str:
    """A `model_warmup` with one input."""
    name = "STRING" if dtype == "BYTES" else dtype
    return f"""model_warmup {{ name: "first" batch_size: {batch} {count}
        inputs {{ key: "x" value {{ data_type: TYPE_{name} dims: [ {dims} ] {source} }} }} }}"""


async def seen(repository: Path, dtype: str) -> Any:
    """What the model saw before its first caller."""
    data = {"BYTES": ["", ""], "BOOL": [False, False]}.get(dtype, [0, 0])
    body = {"inputs": [{"name": "x", "datatype": dtype, "shape": [1, 2], "data": data}]}
    async with running_hub(repository) as hub:
        status, answer, _ = await hub.post("/v2/models/recorder/infer", body)
    assert status == 200, answer
    return json.loads(answer["outputs"][0]["data"][0])


async def test_zeros_are_run_as_often_as_the_config_says(tmp_path: Path) -> None:
    recorder(tmp_path, "FP32", trial("FP32", "zero_data: true", 3, "count: 2"))
    assert await seen(tmp_path, "FP32") == [[[3, 2], [0.0] * 6]] * 2


async def test_no_input_is_guessed_where_the_config_asks_for_nothing(tmp_path: Path) -> None:
    recorder(tmp_path, "FP32", "")
    assert await seen(tmp_path, "FP32") == []


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in ("BF16", "FP16", "BYTES")])
async def test_random_values_are_plausible(tmp_path: Path, dtype: str) -> None:
    recorder(tmp_path, dtype, trial(dtype, "random_data: true", 2, "count: 3"))
    runs = await seen(tmp_path, dtype)
    assert [shape for shape, _ in runs] == [[2, 2]] * 3
    for _, values in runs:
        assert values[:2] == values[2:]  # the row is repeated
        most = 1 if dtype in ("BOOL", "FP32", "FP64") else 127
        assert all(0 <= value <= most for value in values)
    if dtype != "BOOL":
        assert len({tuple(values) for _, values in runs}) == 1  # one request, run three times


async def test_strings_are_empty(tmp_path: Path) -> None:
    recorder(tmp_path, "BYTES", trial("BYTES", "random_data: true") + trial("BYTES", "zero_data: true"))
    assert await seen(tmp_path, "BYTES") == [[[1, 2], ["", ""]]] * 2


@pytest.mark.parametrize(
    ("dtype", "content", "values"),
    [
        ("INT16", np.array([7, -8], np.int16).tobytes(), [7, -8]),
        ("BYTES", pack_bytes([b"a", b""]), ["a", ""]),
    ],
)
async def test_a_file_gives_the_row(tmp_path: Path, dtype: str, content: bytes, values: list[Any]) -> None:
    recorder(tmp_path, dtype, trial(dtype, 'input_data_file: "row"', 2), {"warmup/row": content})
    assert await seen(tmp_path, dtype) == [[[2, 2], values * 2]]


def events(caplog: pytest.LogCaptureFixture, text: str) -> Iterator[dict[str, Any]]:
    """The log records with this text."""
    return (vars(record) for record in caplog.records if record.getMessage() == text)


@pytest.mark.parametrize(
    ("warmup", "reason"),
    [
        (trial("FP32", 'input_data_file: "gone"'), "input 'x': 'warmup/gone' cannot be read: No such file or directory"),
        (trial("FP32", 'input_data_file: "row"'), "tensor 'x': shape [1, 2] of FP32 needs 8 bytes, got 3"),
        (trial("FP32", "zero_data: true", dims="3"), "model 'recorder': input 'x' has shape [1, 3], expected [-1, 2] where -1 is any size"),
        (trial("FP32", "random_data: true", 4294967295), "input 'x' has 34359738360 bytes, expected at most 67108864, as in a call"),
        (trial("FP32", 'input_data_file: "row"', 4294967295, dims="0"), "input 'x' has 12884901885 bytes, expected at most 67108864, as in a call"),
        (trial("FP32", "zero_data: true", dims="-1"), "input 'x' needs a data_type and dims of 0 or more, got FP32 [-1]"),
        (trial("INT8", "zero_data: true"), "model 'recorder': input 'x' is INT8, expected FP32"),
        (trial("FP32", "zero_data: true", 9), "model 'recorder': 9 rows in the request, expected 1 to 8"),
        ('model_warmup { name: "first" batch_size: 1 }', "model 'recorder': input 'x' is missing, expected 'x' FP32 [-1, 2], got []"),
        (trial("FP32", 'input_data_file: "66"'), "model 'recorder' failed on this request; its pod's log says why"),
    ],
)  # fmt: skip
async def test_a_warm_up_that_fails_is_a_line_in_the_log(
    tmp_path: Path, warmup: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"warmup/row": b"abc", "warmup/66": np.full(2, 66, np.float32).tobytes()}
    recorder(tmp_path, "FP32", warmup + trial("FP32", "zero_data: true"), files)
    assert await seen(tmp_path, "FP32") == [[[1, 2], [0.0, 0.0]]]
    (record,) = events(caplog, "warm-up failed")
    assert (record["model"], record["warmup"], record["levelno"]) == ("recorder", "first", logging.WARNING)
    assert record["reason"] == reason


async def test_an_instance_that_its_warm_up_ends_is_replaced(tmp_path: Path) -> None:
    recorder(
        tmp_path,
        "FP32",
        trial("FP32", 'input_data_file: "67"'),
        {"warmup/67": np.full(2, 67, np.float32).tobytes()},
    )
    assert await seen(tmp_path, "FP32") == []


async def test_the_process_that_comes_after_a_crash_is_warmed_up_too(tmp_path: Path) -> None:
    recorder(tmp_path, "FP32", trial("FP32", "zero_data: true"))
    body: Any = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [67, 0]}]}
    async with running_hub(tmp_path) as hub:
        status, _, _ = await hub.post("/v2/models/recorder/infer", body)
        assert status == 500
        body["inputs"][0]["data"] = [1, 1]
        status, answer, _ = await hub.post("/v2/models/recorder/infer", body)
    assert status == 200, answer
    assert json.loads(answer["outputs"][0]["data"][0]) == [[[1, 2], [0.0, 0.0]]]


async def test_a_batch_of_0_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    recorder(tmp_path, "FP32", trial("FP32", "zero_data: true", 0))
    assert await seen(tmp_path, "FP32") == []
    (record,) = events(caplog, "warm-up skipped: its batch_size is 0")
    assert record["warmup"] == "first"


UNSQUEEZE = one_node(
    "Unsqueeze", {"x": tensor_type(FLOAT, ["n"]), "axes": tensor_type(INT64, [2])}, tensor_type(FLOAT, None)
)
DIVIDE = one_node(
    "Div", {"x": tensor_type(INT32, ["n"]), "by": tensor_type(INT32, ["n"])}, tensor_type(INT32, ["n"])
)
# Takes 4 elements, or a multiple of them, as a detector or an audio model with strides does.
FOURS = model(
    [node("Reshape", ["x", "shape"], ["y"])],
    {"x": tensor_type(FLOAT, ["n"])},
    {"y": tensor_type(FLOAT, ["m", 4])},
    [tensor("shape", INT64, [2], [-1, 4])],
)


@pytest.mark.parametrize(
    ("content", "inputs", "expected"),
    [
        (UNSQUEEZE, {"x": ("FP32", [1.5]), "axes": ("INT64", [0, 2])}, ([1, 1, 1], [1.5])),
        (DIVIDE, {"x": ("INT32", [7, -9]), "by": ("INT32", [2, 3])}, ([2], [3, -3])),
        (FOURS, {"x": ("FP32", [1, 2, 3, 4])}, ([1, 4], [1, 2, 3, 4])),
    ],
    ids=["unsqueeze", "divide", "fours"],
)
async def test_onnx_models_that_take_no_guessed_zeros_serve(
    tmp_path: Path, content: bytes, inputs: dict[str, Any], expected: tuple[list[int], list[float]]
) -> None:
    write_model(tmp_path, "m", "", {"1/model.onnx": content})
    body = {
        "inputs": [
            {"name": name, "datatype": dtype, "shape": [len(data)], "data": data}
            for name, (dtype, data) in inputs.items()
        ]
    }
    async with running_hub(tmp_path) as hub:
        status, answer, _ = await hub.post("/v2/models/m/infer", body)
    assert status == 200, answer
    assert (answer["outputs"][0]["shape"], answer["outputs"][0]["data"]) == expected


async def test_a_configured_warm_up_that_an_onnx_model_refuses_leaves_it_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warmup = """model_warmup { name: "zeros" batch_size: 1
        inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } }
        inputs { key: "axes" value { data_type: TYPE_INT64 dims: [ 2 ] zero_data: true } } }"""
    write_model(tmp_path, "m", warmup, {"1/model.onnx": UNSQUEEZE})
    async with running_pod(tmp_path) as pod:
        assert pod.models.serves("m")
    (record,) = events(caplog, "warm-up failed")
    assert record["warmup"] == "zeros"
