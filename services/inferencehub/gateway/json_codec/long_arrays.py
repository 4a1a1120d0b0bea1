"""Large tensors of floating-point numbers in JSON, without a Python object for each number.

The text of a long flat array in `data` is cut out, with a mark in its place, before msgspec sees the rest; compiled code
reads what was cut. It is known to be right where the rest is right, holds each mark as the `data` of an input, and each
array is numbers and nothing else. Whatever is otherwise, and every error, is left to the way through msgspec alone.
"""

from __future__ import annotations

import re

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Tensor, element_count
from inferencehub.gateway.json_codec.native_numbers import DOUBLE, pack_numbers
from inferencehub.gateway.json_codec.tensor_json import TensorBody

OPENED = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*\[(?=[-0-9 \t\r\n])')
MARK = b'"inferencehub cut '
LONG = 2**12  # bytes of an array from which on it is cut out
LEAST_SHARE = 0.5  # of the text that long arrays make up, or it is not worth it
NEAR = 2**16  # bytes from one array to the next; what is further away is left where it is
MOST_PLACES = 64  # where an array may begin; a text with more is not for this way
Place = tuple[int, int]  # of what is between an array's brackets


def cut_numbers(text: bytes) -> tuple[bytes, dict[bytes, Place]] | None:
    """A text without its long arrays: the rest with marks, and what each mark stands for.

    None where they are not most of the text, or a mark would not be the only one of its kind.
    """
    places = long_arrays(text)
    if not places or sum([end - start for start, end in places]) < LEAST_SHARE * len(text):
        return None
    marks = [MARK + b'%d"' % index for index in range(len(places))]
    parts, kept = [], 0
    for mark, (start, end) in zip(marks, places, strict=True):
        parts += [text[kept : start - 1], mark]
        kept = end + 1
    rest = b"".join([*parts, text[kept:]])
    return (rest, dict(zip(marks, places, strict=True))) if rest.count(MARK) == len(marks) else None


def long_arrays(text: bytes) -> list[Place]:
    """The places of long arrays in `data` that begin as numbers do; none where there are too many arrays."""
    places: list[Place] = []
    at = 0
    for _ in range(MOST_PLACES):
        found = OPENED.search(text, at, at + NEAR)
        if found is None:
            return places
        start = at = found.end()
        end = text.find(b"]", start)
        if end < 0:
            break
        if end - start >= LONG:
            places.append((start, end))
            at = end + 1
    return []


def number_tensors(
    text: bytes, inputs: list[TensorBody], cuts: dict[bytes, Place]
) -> list[TensorBody | Tensor] | None:
    """The inputs of the rest, each tensor made whose numbers were cut out; None unless every cut is one's `data`."""
    left = dict(cuts)
    made: list[TensorBody | Tensor] = []
    for body in inputs:
        place = left.pop(bytes(body.data), None)
        if place is None:
            made.append(body)
            continue
        if body.datatype not in DOUBLE or body.parameters:
            return None
        try:
            data = pack_numbers(text, *place, body.datatype, element_count(body.name, body.shape))
        except HubError:
            return None
        if data is None:
            return None
        made.append(Tensor(body.name, body.datatype, tuple(body.shape), data))
    return None if left else made
