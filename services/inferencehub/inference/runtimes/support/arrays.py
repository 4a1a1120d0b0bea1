"""Tensor to numpy array and back, without a copy wherever numpy can read the bytes in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferencehub.core.values.tensors import Tensor, checked_tensor, pack_bytes, unpack_bytes

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
    """A read-only array with the tensor's shape over the tensor's bytes; over a copy if they are not aligned.

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
        array.flags.writeable = False
    return array


def from_array(name: str, dtype: str, array: npt.NDArray[Any]) -> Tensor:
    """A tensor of `dtype` with the array's shape and values; copies only if the type or the memory layout differs.

    Raises:
        ValueError: if the values cannot be converted to that type.
    """
    if dtype == "BYTES":
        elements = [
            item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()
        ]
        return checked_tensor(name, dtype, array.shape, pack_bytes(elements))
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to the nearest, ties to even
        return checked_tensor(name, dtype, array.shape, rounded.astype("<u2").tobytes())
    flat = np.ascontiguousarray(array, dtype=NUMPY[dtype])
    return checked_tensor(name, dtype, array.shape, flat.data.cast("B") if flat.size else b"")
