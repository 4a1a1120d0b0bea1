"""JSON, and answers of the Open Inference Protocol whose tensors stand as bytes behind their JSON, as values.

Source: the binary tensor data extension of Triton. Integers, truth values and texts are compared as they are, so only tensors
of floating point numbers become numbers.
"""

from __future__ import annotations

import json
import struct
from array import array
from typing import Any

import msgspec

FLOATS = {"FP32": "f", "FP64": "d"}


def json_of(content: bytes) -> Any:
    """JSON as values, also with the NaN and Infinity that the protocol's tensors may have.

    Raises:
        ValueError: if it is none.
    """
    try:
        return msgspec.json.decode(content)
    except ValueError:
        return json.loads(content)


def values_of(content: bytes, json_bytes: int) -> Any:
    """The JSON of an answer, its outputs with their data.

    Raises:
        ValueError: if it is no such answer.
    """
    answer = json_of(content[:json_bytes])
    at = json_bytes
    for output in answer.get("outputs", []):
        parameters = output.get("parameters", {})
        size = parameters.pop("binary_data_size", None)
        if size is not None:
            output["data"] = numbers(output.get("datatype", ""), content[at : at + size])
            at += size
    if at != len(content):
        raise ValueError(f"{len(content)} bytes, and its JSON says {at}")
    return answer


def numbers(datatype: str, raw: bytes) -> list[float] | bytes:
    """The elements of a tensor of floating point numbers; the bytes of any other.

    Raises:
        ValueError: if the bytes are no whole elements.
    """
    try:
        if datatype in FLOATS:
            found: array[float] = array(FLOATS[datatype], raw)
            return found.tolist()
        if datatype == "FP16":
            return list(struct.unpack(f"<{len(raw) // 2}e", raw))
        if datatype == "BF16":  # the upper half of an FP32
            halves = array("H", raw)
            wide: array[float] = array("f", array("I", [half << 16 for half in halves]).tobytes())
            return wide.tolist()
    except struct.error as error:
        raise ValueError(str(error)) from None
    return raw
