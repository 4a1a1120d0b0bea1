"""Many numbers are written as JSON in pieces; what comes out is the same as in one piece."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.gateway.json_codec.answer_json import PIECE, elements, encode, finite_json, written_elements

NUMPY = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8",
    "INT8": "i1", "INT16": "i2", "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip


@pytest.mark.parametrize("dtype", NUMPY)
def test_pieces_are_the_same_as_the_whole(dtype: str) -> None:
    kind = np.dtype(NUMPY[dtype])
    at_random = np.random.default_rng(0)
    for count in (1, PIECE // kind.itemsize, PIECE // kind.itemsize + 1, 2 * PIECE // kind.itemsize, 40_001):
        data = bytearray(at_random.bytes(count * kind.itemsize))
        if dtype == "BOOL":
            data = bytearray(byte & 1 for byte in data)
        tensor = Tensor("y", dtype, (count,), bytes(data))  # floats at random have NaN and infinities
        whole = encode(finite_json(elements(tensor)))
        written = encode(finite_json(written_elements(tensor)))
        assert written == whole
        if len(data) > PIECE:
            assert isinstance(written_elements(tensor), msgspec.Raw)


def test_what_json_cannot_carry_is_refused_in_pieces_too() -> None:
    with pytest.raises(HubError, match="output 'y' is BF16, which JSON cannot carry"):
        written_elements(Tensor("y", "BF16", (PIECE,), bytes(2 * PIECE)))
    texts = [b"a" * 100] * 1000
    assert written_elements(Tensor("y", "BYTES", (1000,), pack_bytes(texts))) == ["a" * 100] * 1000
