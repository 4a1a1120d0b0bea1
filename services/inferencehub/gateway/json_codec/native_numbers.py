"""Turns JSON numbers into raw floats with compiled code, if it was compiled.

`make` and the image compile `native_numbers.c` to a library beside this file. Without a compiler everything still
works, but a large tensor in JSON takes about four times as long. ctypes loads the library: this needs no Python
headers, one library works with every version of Python, and other threads run at the same time.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from inferencehub.core.values.tensors import DTYPES

LIBRARY = Path(__file__).with_name("libnumbers.so")
DOUBLE = {"FP32": False, "FP64": True}  # datatypes that can be packed, and whether they are doubles


def loaded(library: Path) -> Any:
    """The compiled function; None if the library is missing or made for another machine."""
    try:
        function = ctypes.CDLL(str(library)).hub_numbers
    except (OSError, AttributeError):
        return None
    size = ctypes.c_size_t
    function.argtypes = (ctypes.c_void_p, size, size, size, ctypes.c_int, ctypes.c_void_p)
    return function


native = loaded(LIBRARY)


def pack_numbers(text: bytes, start: int, end: int, datatype: str, count: int) -> bytes | None:
    """The raw elements of a flat JSON array.

    Args:
        text: holds the array.
        start, end: where its content begins and ends; `text[end]` is the first "]" behind `start`.
        datatype: one of `DOUBLE`.
        count: the expected number of elements.

    Returns:
        The elements in little-endian order; None if the content is not exactly `count` JSON numbers within the
        datatype's range.
    """
    # A number and its comma have at least two characters. So no memory is allocated for a count that cannot be true.
    if native is None or not 0 < 2 * count <= end - start + 1:
        return None
    packed = bytes(count * DTYPES[datatype])  # nothing else refers to it yet, so C code may write into it
    fits = native(text, start, end, count, DOUBLE[datatype], packed)
    return packed if fits else None
