"""The memory of this process, as Linux sees it, and what gRPC has freed of it.

glibc keeps what is freed, and our processes let it keep more (`core/process/life.py`), which is quicker. A process that
held half messages for a moment would look as if it held them for ever.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from time import monotonic

STATM = Path("/proc/self/statm")  # its second number is the pages in memory
PAGE = os.sysconf("SC_PAGE_SIZE")
PAUSE_S, LONGEST_PAUSE_S = 10.0, 600.0
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
CHANGE = 2**22  # bytes; if memory has changed by less, trimming may bring nothing


def memory() -> int | None:
    """The bytes of this process that are in memory; None where that is not known, or no file can be opened."""
    try:
        return int(STATM.read_bytes().split()[1]) * PAGE
    except OSError:
        return None


def trim() -> None:
    """Give free memory back to the system. Takes some ms, up to 30 for 200 MB in small pieces."""
    if TRIM is not None:
        TRIM(0)


class Trimmer:
    """Trims the memory of a process that has nothing to do, more and more seldom while that brings nothing."""

    def __init__(self) -> None:
        self._after = 0  # bytes in memory after the last time
        self._at = 0.0
        self._pause_s = PAUSE_S

    def look(self) -> None:
        """Trim, unless it is too early."""
        now, before = monotonic(), memory() or 0
        if abs(before - self._after) > CHANGE:
            self._pause_s = PAUSE_S
        if now - self._at < self._pause_s:
            return
        trim()
        self._at, self._after = now, memory() or 0
        gained = before - self._after > CHANGE
        self._pause_s = PAUSE_S if gained else min(2 * self._pause_s, LONGEST_PAUSE_S)
