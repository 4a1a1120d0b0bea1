"""Whether two versions of a model gave the same answer.

If `/predict` can read a class from both answers, the classes decide. Else all outputs must have the same names, types and
shapes, and the same elements: floats within a thousandth, all others exactly. Of an output with more than `MOST`
elements, as many are compared, evenly spread: the event loop must not wait.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import isclose

from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.signature import ModelInfo
from inferencehub.core.values.tensors import DTYPES, Tensor

MOST = 1024
RELATIVE, ABSOLUTE = 1e-3, 1e-6
FLOATS = {"FP16": "<e", "BF16": "<f", "FP32": "<f", "FP64": "<d"}


def agree(info: ModelInfo, one: InferResponse, other: InferResponse) -> bool:
    """See the module's text.

    Args:
        info: the model, which says how `/predict` reads it.
        one, other: the answers.
    """
    if not info.no_predict:
        try:
            first, second = read_prediction(info, one), read_prediction(info, other)
        except HubError:  # several rows, or no class in these
            pass
        else:
            return (first.class_id, first.label) == (second.class_id, second.label)
    others = {tensor.name: tensor for tensor in other.outputs}
    return len(others) == len(one.outputs) and all(
        tensor.name in others and same(tensor, others[tensor.name]) for tensor in one.outputs
    )


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, within the tolerance of floats."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if one.data == other.data:
        return True
    size = DTYPES[one.dtype]
    if one.dtype not in FLOATS:
        return False
    step = max(1, len(one.data) // size // MOST) * size
    first, second = floats(one, step), floats(other, step)
    return all(map(close, first, second))


def floats(tensor: Tensor, step: int) -> Iterator[float]:
    """The elements of a tensor at every `step` bytes."""
    read = struct.Struct(FLOATS[tensor.dtype]).unpack_from
    for at in range(0, len(tensor.data), step):
        if tensor.dtype == "BF16":  # the upper half of an FP32
            yield read(b"\0\0" + bytes(tensor.data[at : at + 2]))[0]
        else:
            yield read(tensor.data, at)[0]


def close(one: float, other: float) -> bool:
    """Whether two floats are the same within the tolerance; NaN is NaN."""
    return isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE) or (one != one and other != other)
