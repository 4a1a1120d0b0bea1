"""Tensors of any datatype, shape and value, for properties that Hypothesis tests, and a comparison of their values."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from hypothesis import strategies as st

from inferencehub.core.values.tensors import DTYPES, Buffer, Tensor, pack_bytes

# The bits of a float's ends: sign, exponent and fraction of each type.
FRACTION = {"FP16": (2, 10), "BF16": (2, 7), "FP32": (4, 23), "FP64": (8, 52)}
TEXTS = [b"", b"\0", b"a\0b\0", "größer".encode(), "漢字 😀".encode(), b" \n\t\"\\/", b"null"]  # fmt: skip
NO_TEXTS = [b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"a\x80"]


def float_ends(dtype: str) -> list[bytes]:
    """Both zeros, ones, infinities, and of each sign the ends of subnormal and normal numbers, and three NaN."""
    size, fraction = FRACTION[dtype]
    infinite = (2 ** (8 * size - 1 - fraction) - 1) << fraction
    quiet = infinite | 1 << (fraction - 1)
    one = (2 ** (8 * size - 2 - fraction) - 1) << fraction
    positive = [
        0,
        1,
        (1 << fraction) - 1,
        1 << fraction,
        one,
        infinite - 1,
        infinite,
        quiet,
        quiet | 3,
        infinite | 1,
    ]
    sign = 1 << (8 * size - 1)
    return [(bits | of).to_bytes(size, "little") for bits in positive for of in (0, sign)]


def ends(dtype: str) -> list[bytes]:
    """Elements of a datatype at the ends of its range, each as raw bytes; of BYTES without its length."""
    if dtype in FRACTION:
        return float_ends(dtype)
    if dtype == "BYTES":
        return TEXTS + NO_TEXTS
    if dtype == "BOOL":
        return [b"\0", b"\1"]
    size = DTYPES[dtype]
    top = 2 ** (8 * size - 1)
    return [bits.to_bytes(size, "little") for bits in (0, 1, top - 1, top, 2 * top - 1, 1 << (4 * size))]


def element(dtype: str, text: bool = False) -> st.SearchStrategy[bytes]:
    """One element; of BYTES only valid UTF-8 if `text`."""
    if dtype == "BYTES":
        free = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).map(str.encode)
        return (
            st.sampled_from(TEXTS) | free
            if text
            else st.sampled_from(ends(dtype)) | free | st.binary(max_size=6)
        )
    if dtype == "BOOL":
        return st.sampled_from(ends(dtype))
    size = DTYPES[dtype]
    return st.sampled_from(ends(dtype)) | st.binary(min_size=size, max_size=size)


def raw(dtype: str, elements: Sequence[bytes]) -> bytes:
    """Elements as the data of a tensor."""
    return pack_bytes(elements) if dtype == "BYTES" else b"".join(elements)


# From a single number to five dimensions, each of size 0 to 3, so that many are empty.
SHAPES = st.lists(st.integers(0, 3), max_size=3) | st.lists(st.integers(0, 2), min_size=5, max_size=5)


@st.composite
def tensors(
    draw: st.DrawFn,
    name: str = "x",
    dtypes: Sequence[str] = tuple(DTYPES),
    shapes: st.SearchStrategy[list[int]] = SHAPES,
    text: bool = False,
) -> Tensor:
    """A tensor of one of `dtypes`; elements of BYTES are valid UTF-8 if `text`."""
    dtype, shape = draw(st.sampled_from(dtypes)), tuple(draw(shapes))
    count = prod(shape)
    return Tensor(
        name, dtype, shape, raw(dtype, draw(st.lists(element(dtype, text), min_size=count, max_size=count)))
    )


def same_numbers(dtype: str, came: Buffer, sent: Buffer) -> bool:
    """Whether two tensors have the same bits, but for those of a NaN: some encodings carry only that it is one."""
    if dtype not in FRACTION:
        return bytes(came) == bytes(sent)
    size, fraction = FRACTION[dtype]
    infinite = (2 ** (8 * size - 1 - fraction) - 1) << fraction
    bits = [np.frombuffer(bytes(data), f"<u{size}") for data in (came, sent)]
    nan = [(each & (2 ** (8 * size - 1) - 1)) > infinite for each in bits]
    return len(bits[0]) == len(bits[1]) and bool(np.all((bits[0] == bits[1]) | (nan[0] & nan[1])))
