"""Ensembles for tests, and the models that are their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import onnx_files as onnx
from tests.hub import write_model

ROWS = onnx.tensor_type(onnx.FLOAT, ["n", 3])


def node_model(
    repository: Path, name: str, kind: str, inputs: Sequence[str] = ("x",), most_rows: int = 8
) -> None:
    """An ONNX model of one node: FP32 [rows, 3] in, FP32 [rows, 3] as `y` out."""
    content = onnx.one_node(kind, dict.fromkeys(inputs, ROWS), ROWS)
    write_model(repository, name, f"max_batch_size: {most_rows}", {"1/model.onnx": content})


def step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str], more: str = "") -> str:
    """A step of a config.pbtxt."""
    maps = [
        f'{kind} {{ key: "{name}" value: "{tensor}" }}'
        for kind, pairs in (("input_map", inputs), ("output_map", outputs))
        for name, tensor in pairs.items()
    ]
    return f'step {{ model_name: "{model}" {more} {" ".join(maps)} }}'


def tensors(kind: str, names: Sequence[str], dtype: str = "FP32", dims: str = "3") -> str:
    """Inputs or outputs of a config.pbtxt."""
    return " ".join(f'{kind} {{ name: "{name}" data_type: TYPE_{dtype} dims: [{dims}] }}' for name in names)


def ensemble(
    repository: Path,
    name: str,
    *steps: str,
    inputs: str = tensors("input", ["x"]),
    outputs: str = tensors("output", ["y"]),
    most_rows: int = 8,
) -> None:
    """A model that is made of others."""
    text = f'platform: "ensemble" max_batch_size: {most_rows} {inputs} {outputs}'
    write_model(repository, name, f"{text} ensemble_scheduling {{ {' '.join(steps)} }}")


def diamond(repository: Path, name: str = "diamond") -> None:
    """sum = -x + |x|, with the two parts as outputs too; and the models of its steps."""
    node_model(repository, "neg", "Neg")
    node_model(repository, "abs", "Abs")
    node_model(repository, "add", "Add", ("a", "b"))
    ensemble(
        repository,
        name,
        step("add", {"a": "minus", "b": "size"}, {"y": "sum"}),  # the order in the file does not matter
        step("neg", {"x": "x"}, {"y": "minus"}),
        step("abs", {"x": "x"}, {"y": "size"}),
        outputs=tensors("output", ["sum", "minus", "size"]),
    )
