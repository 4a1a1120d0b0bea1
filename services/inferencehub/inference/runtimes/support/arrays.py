"""Tensor to numpy array and back, without a copy wherever numpy can read the bytes in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferencehub.core.values.tensors import Tensor, checked_tensor, pack_bytes, unpack_bytes
from inferencehub.inference.runtimes.support.narrowing import check_finite, check_kind, narrowed

# BF16 has no numpy type; models get it as FP32, whose upper half it is.
NUMPY: dict[str, str] = {
    "BOOL": "bool",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


def to_array(tensor: Tensor) -> npt.NDArray[Any]:
    """An array with the tensor's shape over the tensor's bytes, writable if these are; a copy if they are not aligned.

    For BYTES it is a new array of objects of type bytes; for BF16 a new array of FP32.
    """
    if tensor.dtype == "BYTES":
        elements = np.empty(tensor.shape, dtype=object)
        elements.ravel()[:] = unpack_bytes(tensor.data)
        return elements
    if tensor.dtype == "BF16":
        wide = np.frombuffer(tensor.data, dtype="<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(tensor.shape)
    array = np.frombuffer(tensor.data, dtype=NUMPY[tensor.dtype]).reshape(tensor.shape)
    if not array.flags.aligned:
        # Libraries expect aligned elements. onnxruntime would make its own copy, which is six times slower.
        array = array.copy()
    return array


def from_array(name: str, dtype: str, array: npt.NDArray[Any]) -> Tensor:
    """A tensor of `dtype` with the array's shape and values; copies only if the type or the memory layout differs.

    Raises:
        ValueError: if a value cannot be converted, see `narrowed`.
    """
    if dtype == "BYTES":
        check_kind(dtype, array)
        return checked_tensor(
            name, dtype, array.shape, pack_bytes([as_bytes(e) for e in array.ravel().tolist()])
        )
    if dtype == "BF16":
        data = bf16(narrowed(dtype, "<f4", array))
        check_finite(dtype, array, (data.astype("<u4") << 16).view("<f4"))
        return checked_tensor(name, dtype, array.shape, data.tobytes())
    flat = narrowed(dtype, NUMPY[dtype], array)
    if dtype == "BOOL" and flat.size and flat.view("u1").max() > 1:
        flat = (
            flat.view("u1") != 0
        )  # memory that was not initialized may hold other bytes; numpy reads them as true
    return checked_tensor(name, dtype, array.shape, flat.data.cast("B") if flat.size else b"")


def as_bytes(element: object) -> bytes:
    """An element of a BYTES tensor; text becomes UTF-8.

    Raises:
        ValueError: if it is neither bytes nor text, or no text that UTF-8 can write. The text is as in `narrowed`.
    """
    if isinstance(element, bytes):
        return element
    if not isinstance(element, str):
        raise ValueError(f"with a {type(element).__name__} in it, expected BYTES")
    try:
        return element.encode()
    except UnicodeEncodeError:
        raise ValueError("with text that UTF-8 cannot write, expected bytes") from None


def bf16(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """FP32 values, rounded to the nearest BF16, ties to even, as uint16."""
    bits = array.view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    # A NaN's bits must not carry over into the exponent or the sign.
    return np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype("<u2")
