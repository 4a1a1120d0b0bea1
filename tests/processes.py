"""What /proc says about processes that others started, and that may end at any moment."""

from __future__ import annotations

from pathlib import Path


def children(pid: int) -> list[int]:
    """The children of a process, also those that have ended and are not reaped; none if it is gone itself."""
    return [int(child) for child in read(f"{pid}/task/{pid}/children").split()]


def command(pid: int) -> str:
    """The command line of a process, its parts separated by zero bytes; "" if it has ended."""
    return read(f"{pid}/cmdline")


def read(name: str) -> str:
    """A file in /proc; "" once its process has ended."""
    try:
        return Path("/proc", name).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
