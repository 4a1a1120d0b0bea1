"""Processes as /proc shows them (families, CPU time, memory), and signals to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def family(roots: Collection[int]) -> set[int]:
    """Processes, all that descend from them, and all in sessions that they began."""
    parents: dict[int, int] = {}
    found = set(roots)
    for pid, fields in stats():
        parents[pid] = int(fields[1])
        if int(fields[3]) in roots:
            found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def stats() -> Iterator[tuple[int, list[str]]]:
    """Process id, and the fields of /proc/PID/stat from the state on, of every process."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(OSError):
                yield int(place.name), (place / "stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children that have ended; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(value) for value in fields[11:15]) * TICK_S


def memory_mb(pid: int, kind: str) -> float:
    """`Rss` or `Pss` of a process in MB; 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{kind}:")), 0.0)


def signal_all(pids: Collection[int], number: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
