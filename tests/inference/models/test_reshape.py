"""`reshape`: callers see dims, models get and give the other shape; configs that do not add up are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.inference.models.config import parse_config
from tests.hub import running_hub, write_model
from tests.onnx_files import FLOAT, one_node, tensor_type

SHAPES = """
class Model:
    def __init__(self, directory, parameters): pass

    def predict(self, inputs):
        x = inputs["x"]
        return {"y": x, "seen": [[" ".join(map(str, x.shape))]] * len(x)}
"""


async def infer(repository: Path, shape: list[int], data: list[float]) -> tuple[int, Any, Any]:
    """The status, the outputs' shapes and values by name (or the error), and the metadata."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]}
    async with running_hub(repository) as hub:
        status, answer, _ = await hub.post("/v2/models/m/infer", body)
        _, metadata, _ = await hub.get("/v2/models/m")
    if status != 200:
        return status, answer["error"], metadata
    return status, {out["name"]: (out["shape"], out["data"]) for out in answer["outputs"]}, metadata


async def test_triton_s_quick_start_is_served(tmp_path: Path) -> None:
    """densenet_onnx: the file has a batch of 1, the config hides it."""
    config = """platform: "onnxruntime_onnx" max_batch_size: 0
        input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 2, 2 ] reshape { shape: [ 1, 3, 2, 2 ] } } ]
        output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] reshape { shape: [ 1, 3, 1, 1 ] } } ]"""
    content = one_node(
        "GlobalMaxPool", {"x": tensor_type(FLOAT, [1, 3, 2, 2])}, tensor_type(FLOAT, [1, 3, 1, 1])
    )
    write_model(tmp_path, "m", config, {"1/model.onnx": content})
    status, outputs, metadata = await infer(tmp_path, [3, 2, 2], [float(value) for value in range(12)])
    assert (status, outputs) == (200, {"y": ([3], [3.0, 7.0, 11.0])})
    assert (metadata["inputs"][0]["shape"], metadata["outputs"][0]["shape"]) == ([3, 2, 2], [3])


async def test_rows_of_a_batch_become_a_vector(tmp_path: Path) -> None:
    config = """max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
        output { name: "y" data_type: TYPE_FP32 dims: [ 1, 1 ] reshape { shape: [ ] } }"""
    kind = tensor_type(FLOAT, ["n"])
    write_model(tmp_path, "m", config, {"1/model.onnx": one_node("Neg", {"x": kind}, kind)})
    status, outputs, metadata = await infer(tmp_path, [3, 1], [1.0, 2.0, 3.0])
    assert (status, outputs) == (200, {"y": ([3, 1, 1], [-1.0, -2.0, -3.0])})
    assert (metadata["inputs"][0]["shape"], metadata["outputs"][0]["shape"]) == ([-1, 1], [-1, 1, 1])


@pytest.mark.parametrize(
    ("dims", "reshape", "shape", "seen"),
    [
        ("4", "2, 2", [2, 4], "2 2 2"),
        ("2, -1, 2", "1, 2, -1, 2, 1", [1, 2, 3, 2], "1 1 2 3 2 1"),
        ("-1, 4, -1", "-1, 2, 2, -1", [1, 5, 4, 1], "1 5 2 2 1"),
        ("-1", "-1, 1", [1, 0], "1 0 1"),
    ],
)
async def test_every_runtime_gets_the_other_shape(
    tmp_path: Path, dims: str, reshape: str, shape: list[int], seen: str
) -> None:
    config = f"""backend: "python" max_batch_size: 8
        input {{ name: "x" data_type: TYPE_FP32 dims: [ {dims} ] reshape {{ shape: [ {reshape} ] }} }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [ {dims} ] reshape {{ shape: [ {reshape} ] }} }}
        output {{ name: "seen" data_type: TYPE_STRING dims: [ 1 ] }}"""
    write_model(tmp_path, "m", config, {"1/model.py": SHAPES})
    count = 1
    for size in shape:
        count *= size
    data = [float(value) for value in range(count)]
    status, outputs, _ = await infer(tmp_path, shape, data)
    assert (status, outputs) == (200, {"y": (shape, data), "seen": ([shape[0], 1], [seen] * shape[0])})


async def test_an_output_of_another_shape_is_an_error_that_names_it(tmp_path: Path) -> None:
    config = """input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
        output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] reshape { shape: [ 1, 2 ] } }"""
    kind = tensor_type(FLOAT, None)
    write_model(tmp_path, "m", config, {"1/model.onnx": one_node("Identity", {"x": kind}, kind)})
    status, error, _ = await infer(tmp_path, [2], [1.0, 2.0])
    assert (status, error) == (500, "model 'm': output 'y' has shape [2], its config says [1, 2]")


@pytest.mark.parametrize("kind", ["input", "output"])
@pytest.mark.parametrize(
    ("dims", "shape", "expected"),
    [
        ("3, 4", "2, 5", "the same number of elements"),
        ("2", "", "the same number of elements"),
        ("-1", "2, 3", "the same number of -1 in both"),
        ("6", "-1", "the same number of -1 in both"),
        ("2, -1, 6", "6, -1, 2", "the same number of elements before, between and after each -1"),
        ("2, 3", "6, 0", "only -1 or numbers above 0"),
        ("4", "-2, -2", "only -1 or numbers above 0"),
    ],
)
def test_shapes_that_do_not_add_up_are_refused(kind: str, dims: str, shape: str, expected: str) -> None:
    with pytest.raises(HubError) as caught:
        parse_config(f'{kind} {{ name: "t" dims: [ {dims} ] reshape {{ shape: [ {shape} ] }} }}', "m")
    assert caught.value.detail == (
        f"config.pbtxt: {kind} 't' has dims [{dims}] and reshape [{shape}], expected {expected}"
    )
