"""Looks at processes for tests: which are alive, and in which state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.servers.proc import stats


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def states(pids: Sequence[int]) -> str:
    """A letter for each process that is there, T where it stands still."""
    return "".join(fields[0] for pid, fields in stats() if pid in pids)
