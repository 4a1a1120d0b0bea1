"""Reads JSON text, and turns every failure into a sentence for the caller.

msgspec reads almost all bodies, and checks types at the same time. It does not read NaN and Infinity. Bodies that hold
them go through the standard library: `load`, then `convert`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import inf, isfinite, nan
from typing import Any, TypeVar

import msgspec

from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.core.values.tensors import MAX_DIMENSIONS

T = TypeVar("T")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
LONE = "an escape \\ud800 to \\udfff stands alone, expected a pair of them"
WORDS = {"bool": "boolean", "float": "number", "int": "integer", "str": "string"}
# Numbers that JSON does not have, as strings: so protobuf's JSON writes them, and numpy reads them.
NON_FINITE = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
MAX_DIGITS = 400  # more digits than any finite number has, and few enough to be read quickly


def decode(decoder: msgspec.json.Decoder[Any], body: bytes | memoryview) -> Any:
    """Decode a body.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    if not body:
        raise bad_input("the body is empty, expected a JSON object")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        fields = getattr(decoder.type, "__struct_fields__", ())
        raise bad_input(f"the body is not as expected: {mismatch(error, fields=fields)}") from None
    except msgspec.DecodeError as error:
        raise bad_input(
            f"expected a JSON object, but the body is no JSON: {malformed(error, body)}"
        ) from None
    except UnicodeDecodeError as error:
        raise no_utf8(error) from None
    except RecursionError:
        raise too_deep() from None


def load(text: bytes) -> Any:
    """Read JSON that may hold NaN and Infinity, with the standard library.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    try:
        value = json.loads(text.decode(), parse_float=finite, parse_int=integer)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeDecodeError as error:
        raise no_utf8(error) from None
    except UnicodeEncodeError:
        raise bad_input(f"the body is no text: {LONE}") from None
    except json.JSONDecodeError as error:
        raise bad_input(f"expected a JSON object, but the body is no JSON: {error}") from None
    except ValueError as error:
        raise bad_input(f"the body is not as expected: {error}") from None
    except RecursionError:
        raise too_deep() from None


def convert(value: Any, kind: type[T]) -> T:
    """Turn a loaded value into a struct, and check its types.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise bad_input(f"the body is not as expected: {mismatch(error)}") from None


def undecoded(value: Any) -> msgspec.Raw:
    """A loaded value as JSON text again, to be decoded later, when its type is known."""
    try:
        return msgspec.Raw(json.dumps(value).encode())
    except RecursionError:
        raise too_deep() from None


def mismatch(error: Exception, root: str = "$", fields: Sequence[str] = ()) -> str:
    """msgspec's message about a wrong type, with JSON's names of types.

    Args:
        error: the error from msgspec.
        root: the name of the value that it checked.
        fields: the names that an object may have, if it refuses all others.
    """
    what, at, where = str(error).partition(" - at `$")
    what = what[0].lower() + what[1:]
    if what.startswith("expected"):
        what = re.sub(r"\b(bool|float|int|str)\b", lambda word: WORDS[word[0]], what)
    elif "out of range" in what:
        what += ", expected one that 64 bits can hold"
    elif "unknown field" in what:
        what = f"{what[:120]}, expected {', '.join(fields)}"
    return f"{what} - at `{root}{where[:120]}" if at else what


def malformed(error: Exception, body: bytes | memoryview) -> str:
    """msgspec's message about a body that is not JSON, with the cause if it is a common one."""
    text = str(error).removeprefix("JSON is malformed: ")
    if "surrogate" in text or (("truncated" in text or "escape" in text) and SURROGATE.search(body)):
        return LONE
    if "truncated" in text:
        return f"it ends too early, after {len(body)} bytes"
    place = re.search(r"byte (\d+)", text)
    near = body[max(0, int(place[1]) - 2) :][:12] if place else b""
    if b"NaN" in near or b"Infinity" in near:
        text += "; NaN and Infinity are not taken here, expected finite numbers"
    return text


def no_utf8(error: UnicodeDecodeError) -> HubError:
    """The error for a body that is not UTF-8."""
    return bad_input(f"expected UTF-8 text, but byte 0x{error.object[error.start]:02x} in the body is none")


def too_deep() -> HubError:
    """The error for a body with more levels than any tensor needs."""
    return bad_input(
        f"the body is nested too deeply, expected objects and arrays of at most {MAX_DIMENSIONS} levels"
    )


def finite(text: str) -> float:
    """A JSON number as a float.

    Raises:
        ValueError: if the number is too large for 64 bits; `float` would return infinity.
    """
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"number {text[:40]} is out of range, expected one that 64 bits can hold")
    return value


def integer(text: str) -> int:
    """A JSON integer.

    Raises:
        ValueError: if it has more digits than any datatype allows.
    """
    if len(text) > MAX_DIGITS:
        raise ValueError(
            f"a number of {len(text)} digits is out of range, expected one that 64 bits can hold"
        )
    return int(text)


def signed(text: str) -> float:
    """A JSON integer for a float: "-0" keeps its sign.

    Raises:
        ValueError: as `integer`.
    """
    return -0.0 if text == "-0" else integer(text)


def json_number(value: float) -> float | str:
    """A number as JSON can carry it: one that is not finite becomes a string, see `NON_FINITE`."""
    if isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
