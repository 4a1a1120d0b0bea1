"""The files below a directory, and whether they have changed since they were looked at.

Looking at the tree again and again needs no library and works on every file system, also on those that containers share with
their host, where events of the kernel do not come.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_ISDIR

DEEPEST = 32
# Errors of a path that leads to no directory, however often it is asked for.
NONE_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES)
# For each file its time of change in ns, its size in bytes and its inode. A link that points elsewhere shows another inode.
Seen = Mapping[str, tuple[int, int, int]]


def look(directory: Path) -> Seen:
    """The files below a directory: for each its time, size and inode. Links are followed.

    Hidden files, `__pycache__` and the copies that editors make (`name~`) are left out.
    """
    return dict(files(str(directory), 0))


def is_directory(path: Path) -> bool:
    """Whether a path is a directory, or a link to one. A link that can't be followed is none.

    Raises:
        OSError: for all that says nothing of it, such as a volume that is away for a moment. `Path.is_dir` returns False then,
            from Python 3.14 on.
    """
    try:
        return S_ISDIR(path.stat().st_mode)
    except OSError as error:
        if error.errno in NONE_THERE:
            return False
        raise


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
