"""Reads large tensors of floating-point numbers in JSON without a Python object for each number.

The text of each long flat array in `data` is cut out, and a mark takes its place. msgspec reads the rest, and compiled
code reads the arrays. The result is valid if the rest is valid, each mark is the `data` of an input, and each array
holds numbers only. In all other cases, and for every error, msgspec reads the whole text instead.
"""

from __future__ import annotations

import re

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Tensor, checked_tensor, element_count
from inferencehub.gateway.json_codec.native_numbers import DOUBLE, pack_numbers
from inferencehub.gateway.json_codec.tensor_json import TensorBody

OPENED = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*\[(?=[-0-9 \t\r\n])')
MARK = b'"inferencehub cut '
LONG = 2**12  # bytes from which on an array is cut out
LEAST_SHARE = 0.5  # least share of long arrays in the text; below it, cutting is not worth it
NEAR = 2**16  # most bytes between two arrays; an array further away is not looked for
MOST_PLACES = 64  # most places where an array may begin; a text with more is not cut
Place = tuple[int, int]  # where the content of an array begins and ends, without its brackets


def cut_numbers(text: bytes) -> tuple[bytes, dict[bytes, Place]] | None:
    """The text with marks in place of its long arrays, and the place that each mark stands for.

    None if long arrays are not most of the text, or if the text already holds something like a mark.
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
    """The places of long arrays in `data` that begin like numbers; empty if there are too many arrays."""
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
    """The inputs, with a tensor for each one whose numbers were cut out.

    None if a cut is not the `data` of an input, or an array does not fit its tensor.
    """
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
        made.append(checked_tensor(body.name, body.datatype, tuple(body.shape), data))
    return None if left else made
