"""Tensors: checked when they are made, and split and merged without loss."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.tensors import (
    DTYPES,
    MAX_ELEMENTS,
    Tensor,
    bytes_elements_end,
    checked_tensor,
    merge_rows,
    pack_bytes,
    split_rows,
    unpack_bytes,
)

FIXED = [dtype for dtype, size in DTYPES.items() if size]
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(st.sampled_from(FIXED), SHAPES, st.integers(-2, 2))
def test_the_byte_count_must_be_the_one_of_the_shape(dtype: str, shape: tuple[int, ...], more: int) -> None:
    right = prod(shape) * DTYPES[dtype]
    data = bytes(max(0, right + more))
    if len(data) == right:
        assert checked_tensor("x", dtype, shape, data).data is data
        return
    with pytest.raises(HubError) as refusal:
        checked_tensor("x", dtype, shape, data)
    assert refusal.value.kind is Kind.BAD_INPUT
    assert refusal.value.detail == (
        f"tensor 'x': shape {list(shape)} of {dtype} needs {right} bytes, got {len(data)}"
    )


@pytest.mark.parametrize(
    ("dtype", "shape", "data", "sentence"),
    [
        ("FLOAT", (1,), bytes(4), "tensor 'x': unknown datatype 'FLOAT', expected one of BOOL, UINT8"),
        ("fp32", (1,), bytes(4), "unknown datatype 'fp32'"),
        ("FP32", (-1,), b"", "dimension -1 in shape, expected 0 to"),
        ("FP32", (2, -2), b"", "dimension -2 in shape"),
        ("FP32", (0, MAX_ELEMENTS + 1), b"", f"dimension {MAX_ELEMENTS + 1} in shape"),
        ("FP32", (2**30, 2**30), b"", f"shape [{2**30}, {2**30}] has "),
        ("FP32", (0, 2**30, 2**30), b"", f"shape [0, {2**30}, {2**30}] is too large, expected at most"),
        ("BYTES", (2**40, 0, 2), b"", f"shape [{2**40}, 0, 2] is too large"),
        ("FP32", (1,) * 33, bytes(4), "33 dimensions, expected at most 32"),
        ("BYTES", (1,), b"", "0 bytes are not exactly 1 BYTES elements"),
        ("BYTES", (0,), bytes(4), "4 bytes are not exactly 0 BYTES elements"),
        ("BYTES", (1,), b"\1\0\0", "3 bytes are not exactly 1"),
        ("BYTES", (1,), b"\2\0\0\0a", "5 bytes are not exactly 1"),
        ("BYTES", (1,), b"\0\0\0\0a", "5 bytes are not exactly 1"),
        ("BYTES", (2,), b"\4\0\0\0abcd", "8 bytes are not exactly 2"),
        ("BYTES", (1,), b"\xff\xff\xff\xffa", "5 bytes are not exactly 1"),
        ("BYTES", (MAX_ELEMENTS,), bytes(8), "8 bytes are not exactly"),
    ],
)
def test_what_is_no_tensor_is_refused_by_a_sentence(
    dtype: str, shape: tuple[int, ...], data: bytes, sentence: str
) -> None:
    with pytest.raises(HubError) as refusal:
        checked_tensor("x", dtype, shape, data)
    assert refusal.value.kind is Kind.BAD_INPUT
    assert sentence in refusal.value.detail
    assert len(refusal.value.detail) < 300


@given(st.lists(st.binary(max_size=9)), st.binary(max_size=5))
def test_bytes_elements_are_read_as_they_were_packed(elements: list[bytes], before: bytes) -> None:
    packed = pack_bytes(elements)
    assert unpack_bytes(packed) == unpack_bytes(memoryview(packed)) == elements
    assert checked_tensor("x", "BYTES", (len(elements),), packed).shape == (len(elements),)
    data = before + packed
    assert bytes_elements_end(data, len(elements), len(before)) == len(data)
    assert bytes_elements_end(data, len(elements) + 1, len(before)) == -1
    if elements and elements[-1]:
        assert bytes_elements_end(data[:-1], len(elements), len(before)) == -1


@given(
    st.data(), st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 3), min_size=1, max_size=5), SHAPES
)
def test_rows_that_were_joined_come_apart_again(
    data: Any, dtype: str, rows: list[int], rest: tuple[int, ...]
) -> None:
    parts = []
    for count in rows:
        elements = count * prod(rest)
        size = elements * DTYPES[dtype]
        raw = (
            data.draw(st.binary(min_size=size, max_size=size))
            if size
            else pack_bytes(data.draw(st.lists(st.binary(max_size=3), min_size=elements, max_size=elements)))
            if dtype == "BYTES"
            else b""
        )
        parts.append(Tensor("x", dtype, (count, *rest), raw))
    merged = merge_rows(parts)
    checked = checked_tensor(merged.name, merged.dtype, merged.shape, merged.data)
    assert checked == merged, "the merge is no tensor"
    assert split_rows(merged, rows) == parts


def test_a_split_copies_no_byte() -> None:
    data = bytes(range(12))
    parts = split_rows(Tensor("x", "FP32", (3, 1), data), [1, 2])
    assert [isinstance(part.data, memoryview) and part.data.obj is data for part in parts] == [True, True]
    alone = Tensor("x", "FP32", (3, 1), data)
    assert split_rows(alone, [3])[0] is alone
    assert merge_rows([alone]) is alone


@pytest.mark.parametrize("rows", [[1], [1, 1, 1], [3], []])
def test_rows_that_do_not_add_up_cannot_be_split(rows: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"output 'x' of shape \[2\] for {sum(rows)} rows"):
        split_rows(Tensor("x", "INT8", (2,), b"ab"), rows)


def test_a_scalar_has_no_rows() -> None:
    with pytest.raises(ValueError, match=r"shape \[\] for 1 rows"):
        split_rows(Tensor("x", "INT8", (), b"a"), [1])
