"""Buffers: they have the requested size, and take no memory before they are used."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inferencehub.core.values.buffers import room
from tests.hub import ROOT

STATM = Path("/proc/self/statm")
MEASURED = """
from pathlib import Path
from inferencehub.core.values.buffers import room
from tests.hub import ROOT

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
rooms = [room(100 * 2**20) for _ in range(10)]
announced = resident()
for at in range(0, 50 * 2**20, 4096):
    rooms[0][at] = 1
print(announced - before, resident() - announced)
"""


@pytest.mark.long
@pytest.mark.skipif(not STATM.exists(), reason="no /proc")
def test_what_is_announced_takes_no_memory_until_it_comes() -> None:
    """In a process of its own: what other tests have freed would be measured, too."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "services")},
    )
    announced, written = map(int, done.stdout.split())
    assert announced < 20 * 2**20
    assert 40 * 2**20 < written < 80 * 2**20


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
