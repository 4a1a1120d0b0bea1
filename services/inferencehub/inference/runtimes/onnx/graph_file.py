"""Reads an ONNX file's graph without a copy of its weights (protobuf's wire format, onnx.proto).

The file may be larger than the memory, and only a few of its bytes matter: it is mapped, and fields are skipped by their
lengths. `Field` numbers in the modules that use this are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

GRAPH = 7  # of ModelProto
FIXED = {1: 8, 5: 4}  # bytes of a value, by its kind on the wire

Field = tuple[int, "int | memoryview"]


def graph_of(file: Path) -> memoryview | None:
    """The graph of a file; None if it has none.

    Raises:
        OSError, ValueError: if the file cannot be read, or is no ONNX file (onnxruntime has a format of its own, too).
    """
    with file.open("rb") as opened:
        # Not closed here: parts of it are still in use. The last of them closes it.
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    return next(parts(memoryview(mapped), GRAPH), None)


def parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages or bytes in a field."""
    for found, value in fields(message):
        if found == number and isinstance(value, memoryview):
            yield value


def texts(message: memoryview, number: int) -> list[str]:
    """The texts in a field."""
    return [bytes(part).decode() for part in parts(message, number)]


def integers(message: memoryview, number: int) -> list[int]:
    """The signed integers in a field, packed or not."""
    found: list[int] = []
    for other, value in fields(message):
        if other != number:
            continue
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            found.append(one)
    return [value - 2**64 if value >= 2**63 else value for value in found]


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message: their numbers and values.

    Raises:
        ValueError: if the bytes are no message.
    """
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(message, at)
            yield key >> 3, value
            continue
        if kind != 2 and kind not in FIXED:
            raise ValueError(f"a field of kind {kind}")
        length, at = varint(message, at) if kind == 2 else (FIXED[kind], at)
        if at + length > len(message):
            raise ValueError("a field is longer than its message")
        yield key >> 3, message[at : at + length]
        at += length


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number at an offset, and the offset behind it.

    Raises:
        ValueError: if there is none.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            break
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
