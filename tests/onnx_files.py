"""ONNX model files for tests, written without the `onnx` package: the fields of onnx.proto3 that the tests need."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

FLOAT, UINT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE, UINT64, BFLOAT16 = 1, 2, 6, 7, 8, 9, 10, 11, 13, 16
PACKED = {FLOAT: "f", UINT8: "B", INT32: "i", INT64: "q", DOUBLE: "d"}
Dims = Sequence[int | str]


def varint(value: int) -> bytes:
    """A protobuf varint."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes | str) -> bytes:
    """A protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor_type(element: int, dims: Dims | None) -> bytes:
    """A TypeProto of a tensor. A dimension that is a text is variable; without `dims`, the rank is unknown."""
    tensor = field(1, element)
    if dims is not None:
        sizes = [field(1, field(2 if isinstance(dim, str) else 1, dim)) for dim in dims]
        tensor += field(2, b"".join(sizes))
    return field(1, tensor)


def sequence_of_maps() -> bytes:
    """The TypeProto of what ZipMap gives: a sequence of maps from int64 to float."""
    return field(4, field(1, field(5, field(1, INT64) + field(2, field(1, field(1, FLOAT))))))


def value(name: str, kind: bytes) -> bytes:
    """A ValueInfoProto: an input or an output."""
    return field(1, name) + field(2, kind)


def tensor(name: str, element: int, dims: Sequence[int], values: Sequence[float | str]) -> bytes:
    """A TensorProto, for an initializer or an attribute."""
    head = b"".join([field(1, dim) for dim in dims]) + field(2, element) + field(8, name)
    if element == STRING:
        return head + b"".join([field(6, str(item)) for item in values])
    return head + field(9, struct.pack(f"<{len(values)}{PACKED[element]}", *values))


Attribute = int | float | str | bytes | Sequence[int] | Sequence[float] | Sequence[str]


def attribute(name: str, given: Attribute) -> bytes:
    """An AttributeProto: an integer, a float, a text, a tensor (as bytes), or a list of integers, floats or texts."""
    if isinstance(given, bytes):
        return field(1, name) + field(5, given) + field(20, 4)
    if isinstance(given, str):
        return field(1, name) + field(4, given) + field(20, 3)
    if isinstance(given, float):
        return field(1, name) + varint(2 << 3 | 5) + struct.pack("<f", given) + field(20, 1)
    if isinstance(given, int):
        return field(1, name) + field(3, given) + field(20, 2)
    if isinstance(given[0], str):
        return field(1, name) + b"".join([field(9, str(item)) for item in given]) + field(20, 8)
    if isinstance(given[0], float):
        packed = [varint(7 << 3 | 5) + struct.pack("<f", item) for item in given]
        return field(1, name) + b"".join(packed) + field(20, 6)
    return field(1, name) + b"".join([field(8, int(item)) for item in given]) + field(20, 7)


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Attribute
) -> bytes:
    """A NodeProto."""
    parts = [field(1, name) for name in inputs] + [field(2, name) for name in outputs]
    parts += [field(4, kind), field(7, domain)]
    return b"".join(parts + [field(5, attribute(*item)) for item in attributes.items()])


def model(
    nodes: Sequence[bytes],
    inputs: Mapping[str, bytes],
    outputs: Mapping[str, bytes],
    initializers: Sequence[bytes] = (),
) -> bytes:
    """A ModelProto with opset 17 and opset 3 of ai.onnx.ml.

    Args:
        nodes: see `node`.
        inputs, outputs: types by name, see `tensor_type`.
        initializers: see `tensor`.
    """
    graph = b"".join([field(1, item) for item in nodes]) + field(2, "graph")
    graph += b"".join([field(5, item) for item in initializers])
    graph += b"".join([field(11, value(*item)) for item in inputs.items()])
    graph += b"".join([field(12, value(*item)) for item in outputs.items()])
    opsets = field(8, field(1, "") + field(2, 17)) + field(8, field(1, "ai.onnx.ml") + field(2, 3))
    return field(1, 8) + field(7, graph) + opsets


def one_node(
    kind: str, inputs: Mapping[str, bytes], output: bytes, domain: str = "", **attributes: Attribute
) -> bytes:
    """A model of one node, whose output is called "y"."""
    return model([node(kind, list(inputs), ["y"], domain, **attributes)], inputs, {"y": output})
