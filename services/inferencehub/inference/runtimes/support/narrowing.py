"""Conversion of an array to another type that changes no value: what the new type cannot hold is refused.

Only the precision of fractions may be lost: a float64 becomes the nearest FP32. An integer must stay the same number,
and a finite number must stay finite. Infinity and NaN that are there already stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# The numpy kinds (`dtype.kind`) that are accepted for each dtype.
INTEGER_KINDS, NUMBER_KINDS = "biu", "biuf"
KINDS = {"BYTES": "SUTO"} | dict.fromkeys(("FP16", "BF16", "FP32", "FP64"), NUMBER_KINDS)
# Whole numbers of so many bits are exact in each float type.
EXACT_BITS = {"BF16": 8, "FP16": 11, "FP32": 24, "FP64": 53}


def narrowed(dtype: str, target: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array as a contiguous array of the numpy type `target`, without a copy if it is one already.

    Args:
        dtype: the protocol's type, a key of `DTYPES` other than BYTES.
        target: its numpy type; FP32's for BF16.
        array: the values.

    Raises:
        ValueError: if a value cannot be converted. The text completes a sentence that begins with the tensor's name.
    """
    if array.dtype == target:
        return np.asarray(array, order="C")
    check_kind(dtype, array)
    wanted = np.dtype(target)
    if array.dtype.kind in INTEGER_KINDS and array.size:
        check_integers(dtype, wanted, array)
    with np.errstate(over="ignore"):  # the next step refuses it
        result = np.asarray(array, dtype=wanted, order="C")
    if wanted.kind == "f":
        check_finite(dtype, array, result)
    return result


def check_kind(dtype: str, array: npt.NDArray[Any]) -> None:
    """Refuse values of another kind, such as floats for integers or objects for numbers.

    Raises:
        ValueError: as in `narrowed`.
    """
    if array.size and array.dtype.kind not in KINDS.get(dtype, INTEGER_KINDS):
        raise ValueError(f"of {array.dtype}, expected {dtype}")


def check_integers(dtype: str, wanted: np.dtype[Any], array: npt.NDArray[Any]) -> None:
    """Refuse an integer that would become another number; a BOOL is 0 or 1.

    Raises:
        ValueError: as in `narrowed`.
    """
    lowest, highest = int(array.min()), int(array.max())
    if dtype in EXACT_BITS:
        limit = 1 << EXACT_BITS[dtype]
        if lowest < -limit or highest > limit:
            refuse(dtype, array, inexact(array, limit))
        return
    least, most = (0, 1) if dtype == "BOOL" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    if lowest < least or highest > most:
        raise cannot_hold(dtype, lowest if lowest < least else highest)


def inexact(array: npt.NDArray[Any], limit: int) -> npt.NDArray[np.bool_]:
    """Where an integer without the zero bits at its end is not below `limit`, so that a float would round it."""
    bits = array.astype("<u8")  # two's complement, where the number is negative
    size = np.where(array < 0, ~bits + np.uint64(1), bits)
    last_bit = size & (~size + np.uint64(1))
    rounded: npt.NDArray[np.bool_] = size // np.maximum(last_bit, np.uint64(1)) >= np.uint64(limit)
    return rounded


def check_finite(dtype: str, array: npt.NDArray[Any], result: npt.NDArray[Any]) -> None:
    """Refuse a finite value of `array` that became infinite in `result`, which is the array as floats of `dtype`.

    Raises:
        ValueError: as in `narrowed`.
    """
    finite = np.isfinite(result)
    if not finite.all():
        refuse(dtype, array, ~finite & np.isfinite(array))


def refuse(dtype: str, array: npt.NDArray[Any], lost: npt.NDArray[np.bool_]) -> None:
    """Raise ValueError with the first value of the array that is lost, if there is one."""
    if lost.any():
        raise cannot_hold(dtype, array[lost][0])


def cannot_hold(dtype: str, value: object) -> ValueError:
    """The error for a value; its text completes a sentence that begins with the tensor's name."""
    return ValueError(f"with the value {value}, which {dtype} cannot hold")
