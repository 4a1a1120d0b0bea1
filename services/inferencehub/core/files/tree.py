"""The files below a directory, and whether they have changed since they were looked at.

Looking at the tree again and again needs no library and works on every file system, also on those that containers share with
their host, where events of the kernel do not come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

DEEPEST = 32
# For each file its time of change in ns, its size in bytes and its inode. A link that points elsewhere shows another inode.
Seen = Mapping[str, tuple[int, int, int]]


def look(directory: Path) -> Seen:
    """The files below a directory: for each its time, size and inode. Links are followed.

    Hidden files, `__pycache__` and the copies that editors make (`name~`) are left out.
    """
    return dict(files(str(directory), 0))


def written(name: str) -> str:
    """A file's name for a sentence: bytes that are not UTF-8 are escaped, or no message could have it."""
    return name.encode(errors="backslashreplace").decode()


def files(directory: str, depth: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """See `look`; `depth` ends a circle of links."""
    try:
        with os.scandir(directory) as entries:
            listed = [*entries]
    except OSError:
        return  # it went while it was looked at
    for entry in listed:
        if entry.name.startswith(".") or entry.name == "__pycache__" or entry.name.endswith("~"):
            continue
        try:
            if entry.is_dir():
                if depth < DEEPEST:
                    yield from files(entry.path, depth + 1)
            else:
                stat = entry.stat()
                yield entry.path, (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except OSError:
            continue  # it went, or it is a link to nothing: the others are still there
