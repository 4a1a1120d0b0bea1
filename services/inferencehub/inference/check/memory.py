"""Memory and CPU time of this process and the processes of its models, from Linux' /proc (proc_pid_status(5), proc_pid_stat(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path

PROC = Path("/proc")
PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def processes() -> list[int]:
    """This process and all below it; only this one where there is no /proc."""
    parents = {}
    for path in PROC.glob("[0-9]*"):
        fields = stat_of(int(path.name))
        if fields:
            parents[int(path.name)] = int(fields[1])
    found = [os.getpid()]
    for one in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == one]
    return found


def stat_of(process: int) -> list[bytes]:
    """The fields of a process's stat from its state on; [] if it has ended, or there is no /proc."""
    try:
        text = (PROC / str(process) / "stat").read_bytes()
    except OSError:
        return []
    return text.rpartition(b")")[2].split()


def memory_bytes() -> int:
    """The largest resident memory that each of these processes has had, summed; 0 where there is no /proc."""
    total = 0
    for process in processes():
        try:
            found = PEAK.search((PROC / str(process) / "status").read_bytes())
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


def cpu_s() -> float:
    """CPU seconds of these processes so far, in steps of 10 ms; 0.0 where there is no /proc."""
    ticks = [stat_of(process)[11:13] for process in processes()]
    return sum(int(one) for pair in ticks for one in pair) / os.sysconf("SC_CLK_TCK")
