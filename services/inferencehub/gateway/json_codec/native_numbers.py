"""Numbers of JSON as raw floats by compiled code, where there is some.

`make` and the image compile `native_numbers.c` to a file beside this one. Without it, for want of a compiler, everything
works as well, and a large tensor as JSON takes about four times as long. It is loaded with ctypes: no Python headers are
needed, one file does for every Python, and other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from inferencehub.core.values.tensors import DTYPES

LIBRARY = Path(__file__).with_name("libnumbers.so")
DOUBLE = {"FP32": False, "FP64": True}  # what can be packed, and whether that is a double


def loaded(library: Path) -> Any:
    """The compiled function; None where it is missing or of another machine."""
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
        start, end: what is between its brackets; `text[end]` is the first "]" behind `start`.
        datatype: one of `DOUBLE`.
        count: of the elements that are expected.

    Returns:
        None where these are not exactly so many numbers within the datatype's range, or not in JSON's notation.
    """
    # A number and its comma are two characters at least: what cannot fit is not allocated.
    if native is None or not 0 < 2 * count <= end - start + 1:
        return None
    packed = bytes(count * DTYPES[datatype])  # nobody else has it yet, so that it may be written
    fits = native(text, start, end, count, DOUBLE[datatype], packed)
    return packed if fits else None
