"""Which inputs and outputs an ONNX file declares without a shape.

onnxruntime gives the empty shape for a scalar and for a tensor of unknown rank, so the file itself has to tell. It may
be larger than the memory, and only a few of its bytes matter: it is mapped, and fields are skipped by their lengths
(protobuf's wire format; the numbers are those of onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

GRAPH, INPUT, OUTPUT = 7, 11, 12  # of ModelProto, GraphProto, GraphProto
NAME, TYPE, TENSOR_TYPE, SHAPE = 1, 2, 1, 2  # of ValueInfoProto (2), TypeProto, TypeProto.Tensor

Span = tuple[int, int]  # where a field begins and ends in the file


def without_shape(file: Path) -> frozenset[str] | None:
    """The names of the inputs and outputs of a model that are tensors without a shape.

    Returns:
        None if the file is no ONNX file (onnxruntime has a format of its own, too).
    """
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return frozenset(shapeless(data, (0, len(data))))
    except (OSError, ValueError, IndexError):
        return None


def shapeless(data: mmap.mmap, model: Span) -> Iterator[str]:
    """The names of the inputs and outputs without a shape."""
    for graph in fields(data, model, GRAPH):
        for number in (INPUT, OUTPUT):
            for value in fields(data, graph, number):
                tensors = [
                    tensor for kind in fields(data, value, TYPE) for tensor in fields(data, kind, TENSOR_TYPE)
                ]
                if tensors and not any(list(fields(data, tensor, SHAPE)) for tensor in tensors):
                    for start, end in fields(data, value, NAME):
                        yield data[start:end].decode()


def fields(data: mmap.mmap, message: Span, wanted: int) -> Iterator[Span]:
    """Where the fields with this number are in a message, if they have a length.

    Raises:
        ValueError: if it is no message.
    """
    at, end = message
    while at < end:
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, at = varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = varint(data, at)
            if number == wanted:
                yield at, at + length
            at += length
        else:
            raise ValueError(f"field {number} of kind {kind}")
    if at != end:
        raise ValueError("a field is longer than its message")


def varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")
