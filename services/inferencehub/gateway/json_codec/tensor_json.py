"""Turns the `data` of an input into raw elements of the tensor's datatype.

`data` stays undecoded until the datatype is known, so that numbers go straight into a typed list. Nested arrays and
arrays with NaN take a slower path, long flat arrays a faster one (`long_arrays.py`).
"""

from __future__ import annotations

import json
import re
import struct
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from inferencehub.core.oip.predict import CODES, packer
from inferencehub.core.values.errors import bad_input, shown
from inferencehub.core.values.tensors import Tensor, checked_tensor, element_count, pack_bytes, unpack_bytes
from inferencehub.gateway.json_codec.json_text import LONE, NON_FINITE, finite, integer, mismatch, signed

NO_DATA = msgspec.Raw()
MINUS_ZERO = re.compile(rb"-0(?![.\deE])")  # "-0", as Go and JavaScript write the number -0.0


# Parameters as they come: null stands for a parameter that is not set.
Parameters = dict[str, bool | int | float | str | None]


class TensorBody(msgspec.Struct):
    """An input of the protocol's JSON; `data` is empty or null if the input's bytes are behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = NO_DATA
    parameters: Parameters | None = None


_numbers = msgspec.json.Decoder(list[float])
_integers = msgspec.json.Decoder(list[int])
_booleans = msgspec.json.Decoder(list[bool])
_strings = msgspec.json.Decoder(list[str])

FLAT: dict[str, tuple[msgspec.json.Decoder[Any], type]] = {
    "BOOL": (_booleans, bool),
    "BYTES": (_strings, str),
    **{name: (_integers, int) for name in CODES if "INT" in name},
    **dict.fromkeys(("FP16", "FP32", "FP64"), (_numbers, float)),
}


def tensor_from_json(body: TensorBody) -> Tensor:
    """The tensor of an input whose `data` is flat, or nested as its shape says.

    Raises:
        HubError: BAD_INPUT naming the input, what was expected and what came.
    """
    if body.datatype not in FLAT:
        raise bad_input(
            f"input '{body.name[:80]}': datatype {shown(body.datatype)}, expected one of {', '.join(FLAT)}"
        )
    count = element_count(body.name, body.shape)
    values = elements_of(body)
    if len(values) != count:
        raise bad_input(
            f"input '{body.name[:80]}': shape {shown(body.shape)} needs {count} elements, got {len(values)}"
        )
    return checked_tensor(body.name, body.datatype, tuple(body.shape), pack(body.name, body.datatype, values))


def elements_of(body: TensorBody) -> list[Any]:
    """The elements of an input, flat."""
    decoder, kind = FLAT[body.datatype]
    if kind is float and MINUS_ZERO.search(body.data):
        return nested(body, kind)
    try:
        values: list[Any] = decoder.decode(body.data)
        return values
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return nested(body, kind)


def nested(body: TensorBody, kind: type) -> list[Any]:
    """The elements of nested arrays, or of flat ones with NaN, -0 or bytes in them, as a flat list of `kind`.

    Bytes that are no text may be written as `{"b64": "…"}`, as in the V1 protocol. Numbers that JSON does not have may be written as words (NaN, Infinity) or as strings with these words.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    try:
        value = json.loads(
            bytes(body.data), parse_float=finite, parse_int=signed if kind is float else integer
        )
        deep = isinstance(value, list) and value and isinstance(value[0], list)
        flat = flatten(value, body.shape) if deep else value
        if kind is str and b'"b64"' in bytes(body.data) and isinstance(flat, list):
            return [element_of(body.name, item) for item in flat]
        if kind is float and isinstance(flat, list):
            flat = [NON_FINITE.get(item, item) if isinstance(item, str) else item for item in flat]
        return msgspec.convert(flat, list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        why = mismatch(error, "data")
    except UnicodeDecodeError:
        why = "it holds bytes that are no UTF-8 text"
    except ValueError as error:
        why = str(error)[:200]
    except RecursionError:
        why = "it is nested too deeply"
    expected = {bool: "booleans", str: "strings", int: "integers", float: "numbers"}[kind]
    raise bad_input(
        f"input '{body.name[:80]}': expected data to be an array of {expected}, flat or nested as shape "
        f"{shown(body.shape)} says: {why}"
    )


def element_of(name: str, item: Any) -> bytes:
    """An element of BYTES: a text, or `{"b64": "…"}`.

    Raises:
        HubError: BAD_INPUT if it is neither.
    """
    try:
        if isinstance(item, str):
            return item.encode()
        if isinstance(item, dict) and isinstance(item.get("b64"), str):
            return b64decode(item["b64"], validate=True)
    except ValueError:
        pass
    raise bad_input(
        f"input '{name[:80]}': expected a text or an object with base64 in 'b64', got {shown(item)}"
    )


def from_base64(tensor: Tensor) -> Tensor:
    """An input of BYTES whose elements came as base64 (the parameter `content_type` of MLServer).

    Raises:
        HubError: BAD_INPUT if an element is none.
    """
    try:
        elements = [b64decode(text, validate=True) for text in unpack_bytes(tensor.data)]
    except ValueError:
        raise bad_input(
            f"input '{tensor.name[:80]}': parameter 'content_type' is base64, and an element is none"
        ) from None
    return Tensor(tensor.name, tensor.dtype, tensor.shape, pack_bytes(elements))


def flatten(value: Any, shape: Sequence[int]) -> list[Any]:
    """Nested lists of exactly this shape, as one flat list.

    Raises:
        ValueError: if the lists have another shape; the text says which of them, such as "data[1]", what was expected and what
            came.
    """
    try:
        return levelled(value, shape)
    except ValueError as error:
        raise ValueError(f"data{error}") from None


def levelled(value: Any, shape: Sequence[int]) -> list[Any]:
    """As `flatten`; the text of the error begins with the place in `value`."""
    if not shape:
        raise ValueError(" has more levels than the shape has dimensions")
    if not isinstance(value, list) or len(value) != shape[0]:
        got = f"an array of {len(value)}" if isinstance(value, list) else "a single value"
        raise ValueError(f": expected an array of {shape[0]}, got {got}")
    if len(shape) == 1:
        return value
    flat: list[Any] = []
    for place, part in enumerate(value):
        try:
            flat += levelled(part, shape[1:])
        except ValueError as error:
            raise ValueError(f"[{place}]{error}") from None
    return flat


def lengths(value: Any) -> tuple[int, ...]:
    """The lengths of nested lists, from the first item at each level."""
    return (len(value), *lengths(value[0] if value else None)) if isinstance(value, list) else ()


def pack(name: str, datatype: str, values: list[Any]) -> bytes:
    """Elements as raw bytes of a datatype.

    Raises:
        HubError: BAD_INPUT if an element is out of the datatype's range, or not valid text.
    """
    if datatype == "BOOL":
        return bytes(values)
    try:
        if datatype == "BYTES":
            return pack_bytes([value if type(value) is bytes else value.encode() for value in values])
        return packer(CODES.get(datatype, "e"), len(values)).pack(*values)
    except UnicodeEncodeError:
        raise bad_input(f"input '{name[:80]}': an element is no text: {LONE}") from None
    except (OverflowError, struct.error):
        refuse_range(name, datatype, values)


def refuse_range(name: str, datatype: str, values: list[Any]) -> NoReturn:
    """Raise the error for the first element that is out of range."""
    code = "<" + CODES.get(datatype, "e")
    for index, value in enumerate(values):
        try:
            struct.pack(code, value)
        except (OverflowError, struct.error):
            raise bad_input(
                f"input '{name[:80]}': element {index} is {shown(value)}, out of the range of {datatype}"
            ) from None
    raise AssertionError("each of them fits")
