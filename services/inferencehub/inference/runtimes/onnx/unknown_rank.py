"""Which inputs and outputs an ONNX file declares without a shape.

onnxruntime gives the empty shape for a scalar and for a tensor of unknown rank, so the file itself has to tell. The
numbers in the code are those of fields of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inferencehub.inference.runtimes.onnx.graph_file import graph_of, parts, texts

INPUT, OUTPUT = 11, 12  # of GraphProto
NAME, TYPE, TENSOR_TYPE, SHAPE = 1, 2, 1, 2  # of ValueInfoProto (2), TypeProto, TypeProto.Tensor


def without_shape(file: Path) -> frozenset[str] | None:
    """The names of the inputs and outputs of a model that are tensors without a shape.

    Returns:
        None if the file is no ONNX file (onnxruntime has a format of its own, too).
    """
    try:
        graph = graph_of(file)
        return frozenset() if graph is None else frozenset(shapeless(graph))
    except (OSError, ValueError):
        return None


def shapeless(graph: memoryview) -> Iterator[str]:
    """The names of the inputs and outputs without a shape."""
    for number in (INPUT, OUTPUT):
        for value in parts(graph, number):
            tensors = [tensor for kind in parts(value, TYPE) for tensor in parts(kind, TENSOR_TYPE)]
            if tensors and not any(list(parts(tensor, SHAPE)) for tensor in tensors):
                yield from texts(value, NAME)
