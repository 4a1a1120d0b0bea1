"""Tensor to numpy array and back, without copying the bytes where numpy can look at them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferencehub.core.values.tensors import Tensor, pack_bytes, unpack_bytes

# BF16 has no numpy type; it goes to models as the upper half of FP32.
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
    """A read-only array over the tensor's bytes, or over a copy where its elements are not aligned.

    BYTES elements are objects of type bytes.
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
        # Libraries expect each element at a multiple of its size; onnxruntime itself copies, six times as slowly.
        array = array.copy()
        array.flags.writeable = False
    return array


def from_array(name: str, dtype: str, array: npt.NDArray[Any]) -> Tensor:
    """A tensor of `dtype` with the array's shape and values; copies only where the type or the layout differ.

    Raises:
        ValueError: where the values cannot be of that type.
    """
    if dtype == "BYTES":
        elements = [
            item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()
        ]
        return Tensor(name, dtype, array.shape, pack_bytes(elements))
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to the nearest, ties to even
        return Tensor(name, dtype, array.shape, rounded.astype("<u2").tobytes())
    flat = np.ascontiguousarray(array, dtype=NUMPY[dtype])
    return Tensor(name, dtype, array.shape, flat.data.cast("B") if flat.size else b"")
