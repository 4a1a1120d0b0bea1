"""What is measured of this machine and its processes.

Limits of wall time are those of a machine at rest. A machine that is shared with others loses up to three quarters of
its speed for some seconds, while nothing here runs.
"""

import os
from pathlib import Path
from time import perf_counter, sleep

TURNS = 200_000
AT_REST_S = 0.0102
"""What TURNS turns of the loop below take on the machine of docs/benchmarks.md at rest, with Python 3.11."""
MOST = 8.0
"""A slower machine fails: else a test could be right at any speed."""


def slowness() -> float:
    """How many times longer than at rest the worst of ten pieces of work takes: 1 to MOST. Takes 0.15 s."""
    longest = 0.0
    for _ in range(10):
        began, total = perf_counter(), 0
        for turn in range(TURNS):
            total += turn & 3
        longest = max(longest, perf_counter() - began)
        sleep(0.005)
    return min(max(longest / AT_REST_S, 1.0), MOST)


def slowed(seconds: float) -> float:
    """What takes `seconds` on a machine at rest may take this long on the one that this is just now."""
    return seconds * slowness()


def resident(pid: int) -> int:
    """Bytes of a process in memory; Linux tells."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
