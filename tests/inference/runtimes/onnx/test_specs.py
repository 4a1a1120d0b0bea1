"""What the file of an ONNX model and its config say together: shapes, scalars, unknown ranks, optional inputs, ZipMap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc.aio as triton

from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import model_config_pb2 as config_pb
from tests.hub import Hub, running_hub, running_pod, write_model
from tests.inference.pod_processes import predict_of
from tests.onnx_files import FLOAT, INT64, model, node, one_node, sequence_of_maps, tensor, tensor_type


async def infer(hub: Hub, **inputs: tuple[list[int], list[float]]) -> tuple[int, Any]:
    """The status, and the shapes and values of all outputs by name, or the error."""
    body = {
        "inputs": [
            {"name": name, "datatype": "FP32", "shape": shape, "data": data}
            for name, (shape, data) in inputs.items()
        ]
    }
    status, answer, _ = await hub.post("/v2/models/m/infer", body)
    if status != 200:
        return status, answer["error"]
    return status, {output["name"]: (output["shape"], output["data"]) for output in answer["outputs"]}


async def config_of(hub: Hub) -> Any:
    """What the pod answers to ModelConfig."""
    async with triton.InferenceServerClient(f"127.0.0.1:{hub.pods[0].port}") as client:
        return (await client.get_model_config("m")).config


async def reason(repository: Path) -> str:
    """Why the model is not available."""
    async with running_pod(repository) as pod:
        return pod.models.get("m").reason


def scaled(scale: list[int | str] | None) -> bytes:
    """A model whose y is x times the input s."""
    return one_node(
        "Mul",
        {"x": tensor_type(FLOAT, ["n", 2]), "s": tensor_type(FLOAT, scale)},
        tensor_type(FLOAT, ["n", 2]),
    )


X = ([1, 2], [3.0, 4.0])


async def test_a_scalar_needs_no_config(tmp_path: Path) -> None:
    write_model(tmp_path, "m", "", {"1/model.onnx": scaled([])})
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, x=X, s=([], [2.0])) == (200, {"y": ([1, 2], [6.0, 8.0])})
        assert await infer(hub, x=X, s=([1], [2.0])) == (
            400,
            "model 'm': input 's' has shape [1], expected []",
        )
        _, metadata, _ = await hub.get("/v2/models/m")
        assert metadata["inputs"][1] == {"name": "s", "datatype": "FP32", "shape": []}


@pytest.mark.parametrize("dims", ["dims: [ ]", "", "data_type: TYPE_FP32 dims: [ ] reshape { shape: [ ] }"])
async def test_a_scalar_may_be_written_as_the_model_has_it(tmp_path: Path, dims: str) -> None:
    config = f'input [ {{ name: "x" }}, {{ name: "s" {dims} }} ]'
    write_model(tmp_path, "m", config, {"1/model.onnx": scaled([])})
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, x=X, s=([], [2.0])) == (200, {"y": ([1, 2], [6.0, 8.0])})


async def test_a_reshape_to_nothing_makes_a_scalar_of_a_row(tmp_path: Path) -> None:
    config = """input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] },
        { name: "s" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]"""
    write_model(tmp_path, "m", config, {"1/model.onnx": scaled([])})
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, x=X, s=([1], [2.0])) == (200, {"y": ([1, 2], [6.0, 8.0])})
        _, metadata, _ = await hub.get("/v2/models/m")
        assert metadata["inputs"][1] == {"name": "s", "datatype": "FP32", "shape": [1]}
        status, error = await infer(hub, x=X, s=([], [2.0]))
        assert (status, error) == (400, "model 'm': input 's' has shape [], expected [1]")


@pytest.mark.parametrize(
    "scale", [([], [2.0]), ([2], [1.0, 2.0]), ([3, 1], [1.0, 2.0, 3.0]), ([1, 1, 1], [2.0])]
)
async def test_an_input_of_unknown_rank_takes_any_shape(
    tmp_path: Path, scale: tuple[list[int], list[float]]
) -> None:
    write_model(
        tmp_path,
        "m",
        "",
        {"1/model.onnx": one_node("Identity", {"s": tensor_type(FLOAT, None)}, tensor_type(FLOAT, None))},
    )
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, s=scale) == (200, {"y": scale})
        _, metadata, _ = await hub.get("/v2/models/m")
        assert metadata["inputs"] == [{"name": "s", "datatype": "FP32", "shape": []}]


async def test_predict_gives_an_unknown_rank_a_row_and_a_scalar_one_number(tmp_path: Path) -> None:
    unknown = one_node("Identity", {"s": tensor_type(FLOAT, None)}, tensor_type(FLOAT, ["n", "k"]))
    scalar = model(
        [node("Mul", ["s", "two"], ["y"])],
        {"s": tensor_type(FLOAT, [])},
        {"y": tensor_type(FLOAT, [2])},
        [tensor("two", FLOAT, [2], [1.0, 2.0])],
    )
    write_model(tmp_path, "unknown", "", {"1/model.onnx": unknown})
    write_model(tmp_path, "scalar", "", {"1/model.onnx": scalar})
    cases = [
        ("unknown", [0.25, 0.75], 1, 0.75),
        ("unknown", [1.0, 0.0, 0.0], 0, 1.0),
        ("scalar", [0.0], 0, 0.5),
    ]
    async with (
        running_hub(tmp_path) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.pods[0].port}") as channel,
    ):
        for name, features, class_id, confidence in cases:
            _, answer, _ = await hub.post("/predict", {"model_name": name, "features": features})
            assert answer == {"class_id": class_id, "confidence": confidence, "error": ""}
            request = predict_pb.PredictRequest(model_name=name, features=features)
            at_pod = await predict_of(channel)(request)
            assert (at_pod.class_id, at_pod.confidence) == (class_id, confidence)
        status, answer, _ = await hub.post("/predict", {"model_name": "scalar", "features": [1, 2]})
        assert (status, answer["error"]) == (400, "model 'scalar' takes 1 features, got 2")
        raw = {"Inference-Header-Content-Length": "0"}
        status, answer, _ = await hub.post("/v2/models/unknown/infer", bytes(8), headers=raw)
        assert (status, answer["error"]) == (
            400,
            "model 'unknown': input 's' has no shape, expected one for a body of raw elements",
        )


async def test_a_config_may_give_dims_to_an_unknown_rank(tmp_path: Path) -> None:
    config = 'max_batch_size: 4 input { name: "s" data_type: TYPE_FP32 dims: [ 2 ] } output { name: "y" dims: [ 2 ] }'
    kind = tensor_type(FLOAT, None)
    write_model(tmp_path, "m", config, {"1/model.onnx": one_node("Identity", {"s": kind}, kind)})
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, s=X) == (200, {"y": X})
        status, error = await infer(hub, s=([1, 3], [1.0, 2.0, 3.0]))
        assert (status, error.endswith("has shape [1, 3], expected [-1, 2] where -1 is any size")) == (
            400,
            True,
        )


async def test_a_batch_of_unknown_rank_needs_dims(tmp_path: Path) -> None:
    kind = tensor_type(FLOAT, None)
    content = one_node("Identity", {"s": kind}, kind)
    write_model(tmp_path, "m", "max_batch_size: 4", {"1/model.onnx": content})
    assert await reason(tmp_path) == (
        "config.pbtxt: max_batch_size 4, but input 's' has no shape in the model, expected its dims in the config"
    )


WEIGHT = tensor("w", FLOAT, [2], [10.0, 20.0])
WEIGHTED = model(
    [node("Mul", ["x", "w"], ["y"])],
    {"x": tensor_type(FLOAT, ["n", 2]), "w": tensor_type(FLOAT, [2])},
    {"y": tensor_type(FLOAT, ["n", 2])},
    [WEIGHT],
)


@pytest.mark.parametrize(
    "config", ["", 'input [ { name: "x" }, { name: "w" data_type: TYPE_FP32 dims: [ 2 ] } ]']
)
async def test_an_initializer_that_is_an_input_may_be_given(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "m", config, {"1/model.onnx": WEIGHTED})
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, x=X) == (200, {"y": ([1, 2], [30.0, 80.0])})
        assert await infer(hub, x=X, w=([2], [1.0, 2.0])) == (200, {"y": ([1, 2], [3.0, 8.0])})
        assert await infer(hub, w=([2], [5.0, 5.0]), x=X) == (200, {"y": ([1, 2], [15.0, 20.0])})
        status, error = await infer(hub, x=X, w=([3], [1.0, 2.0, 3.0]))
        assert (status, error) == (400, "model 'm': input 'w' has shape [3], expected [2]")
        status, error = await infer(hub, w=([2], [1.0, 2.0]))
        assert (status, error.startswith("model 'm': input 'x' is missing")) == (400, True)
        shown = await config_of(hub)
    assert [(entry.name, entry.optional) for entry in shown.input] == [("x", False), ("w", True)]


@pytest.mark.parametrize(
    "config", ["max_batch_size: 8", 'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] }']
)
async def test_an_initializer_is_left_alone_where_it_has_no_rows_or_the_config_lists_others(
    tmp_path: Path, config: str
) -> None:
    write_model(tmp_path, "m", config, {"1/model.onnx": WEIGHTED})
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, x=X) == (200, {"y": ([1, 2], [30.0, 80.0])})
        _, metadata, _ = await hub.get("/v2/models/m")
        assert [entry["name"] for entry in metadata["inputs"]] == ["x"]


ZIPPED = model(
    [
        node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        node("ZipMap", ["x"], ["probabilities"], "ai.onnx.ml", classlabels_int64s=[0, 1]),
    ],
    {"x": tensor_type(FLOAT, ["n", 2])},
    {"label": tensor_type(INT64, ["n"]), "probabilities": sequence_of_maps()},
)


async def test_a_zip_map_that_nobody_lists_is_no_obstacle(tmp_path: Path) -> None:
    write_model(
        tmp_path, "m", 'output { name: "label" data_type: TYPE_INT64 dims: [ -1 ] }', {"1/model.onnx": ZIPPED}
    )
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, x=([2, 2], [1.0, 0.0, 0.0, 1.0])) == (200, {"label": ([2], [0, 1])})


@pytest.mark.parametrize(
    "config", ["", 'output { name: "probabilities" dims: [ -1, 2 ] data_type: TYPE_FP32 }']
)
async def test_a_zip_map_s_sentence_names_the_ways_out(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "m", config, {"1/model.onnx": ZIPPED})
    assert await reason(tmp_path) == (
        "output 'probabilities' of the model is a seq(map(int64,tensor(float))), which is not supported: "
        "export with zipmap=False or list only ['label'] as outputs in config.pbtxt"
    )


async def test_the_config_is_shown_with_what_the_file_tells(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 'max_batch_size: 4 output { name: "label" }', {"1/model.onnx": ZIPPED})
    async with running_hub(tmp_path) as hub:
        shown = await config_of(hub)
    assert [(entry.name, entry.data_type, list(entry.dims)) for entry in shown.input] == [
        ("x", config_pb.TYPE_FP32, [2])
    ]
    assert [(entry.name, entry.data_type, list(entry.dims)) for entry in shown.output] == [
        ("label", config_pb.TYPE_INT64, [])
    ]
