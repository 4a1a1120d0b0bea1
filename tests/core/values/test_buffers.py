"""Buffers: they have the requested size, and take no memory before they are used."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from inferencehub.core.values.buffers import room

PAGE = 4096
STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of this process's memory that it has."""
    return int(STATM.read_text().split()[1]) * PAGE


@pytest.mark.skipif(not STATM.exists(), reason="no /proc")
def test_what_is_announced_takes_no_memory_until_it_comes() -> None:
    before = resident()
    rooms = [room(100 * 2**20) for _ in range(10)]
    assert resident() - before < 20 * 2**20
    rooms[0][: 50 * 2**20] = bytes(50 * 2**20)
    assert 40 * 2**20 < resident() - before < 80 * 2**20


@pytest.mark.parametrize("size", [0, 1, 1000, 10**6])
def test_it_can_be_written(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    view = room(size)
    view[:] = data[:size]
    assert (len(view), bytes(view)) == (size, data[:size])


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2), reason="this Python itself crashes (CPython issue 111049)"
)
def test_one_that_leaves_in_a_cycle_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.13 on the collector reports what a file's `close` raises."""
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    cycle: list[object] = [room(10)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert not seen
