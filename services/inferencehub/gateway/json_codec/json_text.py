"""JSON text to values: every way in which that can fail is a sentence for whoever wrote the text.

msgspec reads almost all of it, and checks types on the way. What it does not read, NaN and Infinity, the standard
library does: `load`, then `convert`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeVar

import msgspec

from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.core.values.tensors import MAX_DIMENSIONS

T = TypeVar("T")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
LONE = "an escape \\ud800 to \\udfff stands alone, expected a pair of them"
WORDS = {"bool": "boolean", "float": "number", "int": "integer", "str": "string"}
MAX_DIGITS = 400  # more than any finite number has, and few enough to be read quickly


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """What a decoder reads out of a body; every way in which that fails is a sentence."""
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
    """What the standard library reads out of JSON that may hold NaN and Infinity.

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
    """A value that was loaded as a struct, its types checked.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise bad_input(f"the body is not as expected: {mismatch(error)}") from None


def undecoded(value: Any) -> msgspec.Raw:
    """A value that was loaded as JSON again, to be decoded once its type is known."""
    try:
        return msgspec.Raw(json.dumps(value).encode())
    except RecursionError:
        raise too_deep() from None


def mismatch(error: Exception, root: str = "$", fields: Sequence[str] = ()) -> str:
    """What msgspec says of a wrong type, in JSON's words.

    Args:
        error: msgspec's.
        root: the name of what it looked at.
        fields: the names that an object may hold, where it refuses others.
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


def malformed(error: Exception, body: bytes) -> str:
    """What msgspec says of a body that is no JSON, with the cause where it is a well-known one."""
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
    """The error of a body in another encoding."""
    return bad_input(f"expected UTF-8 text, but byte 0x{error.object[error.start]:02x} in the body is none")


def too_deep() -> HubError:
    """The error of a body that nests beyond what any tensor needs."""
    return bad_input(
        f"the body is nested too deeply, expected objects and arrays of at most {MAX_DIMENSIONS} levels"
    )


def finite(text: str) -> float:
    """A JSON number as a float; refuses one beyond 64 bits, which `float` would call infinite."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"number {text[:40]} is out of range, expected one that 64 bits can hold")
    return value


def integer(text: str) -> int:
    """A JSON integer; refuses one of so many digits that it is in no datatype's range."""
    if len(text) > MAX_DIGITS:
        raise ValueError(
            f"a number of {len(text)} digits is out of range, expected one that 64 bits can hold"
        )
    return int(text)
