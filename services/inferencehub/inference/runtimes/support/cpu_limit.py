"""How many CPU cores this process may use: the smaller of its CPU affinity and its container's limit (cgroup)."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """The number of cores, at least 1; a limit of 1.5 cores counts as 2."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it, macOS does not
    seen = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(seen, ceil(quota(cgroup) or seen)))


def quota(cgroup: Path) -> float:
    """The container's limit in cores; 0 if there is none."""
    try:
        if (cgroup / "cpu.max").exists():  # version 2, "max 100000" or "150000 100000"
            limit, period = (cgroup / "cpu.max").read_text().split()
        else:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()  # version 1, -1 for none
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return max(0.0, int(limit) / int(period))
    except (OSError, ValueError):
        return 0.0
