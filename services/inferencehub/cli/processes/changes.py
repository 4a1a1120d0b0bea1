"""Sees that files below a directory have changed, and waits until nobody writes any more.

Looking at the tree again and again needs no library and works on every file system, also on those that containers share with
their host, where events of the kernel do not come.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

LOOK_S = 0.05  # between two looks
STILL = 2  # looks without a difference after which a change counts as whole: files are written one after the other
PAUSE = 4  # times as long as a look took is the pause behind it: large trees are looked at less often

Seen = Mapping[str, tuple[int, int, int]]


def look(directory: Path) -> Seen:
    """The files below a directory: for each its time, size and inode. Links are followed.

    Hidden files, `__pycache__` and the copies that editors make (`name~`) are left out.
    """
    return dict(files(str(directory), 0))


def files(directory: str, depth: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """See `look`; `depth` ends a circle of links."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__pycache__" or entry.name.endswith("~"):
                    continue
                if entry.is_dir():
                    if depth < 32:
                        yield from files(entry.path, depth + 1)
                else:
                    stat = entry.stat()
                    yield entry.path, (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError:
        return  # it went while it was looked at


async def changed(directory: Path, seen: Seen) -> Seen:
    """Wait until the files differ from `seen` and then stay as they are for a moment.

    Returns:
        The files as they are now.
    """
    before, still = seen, 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        now = await asyncio.to_thread(look, directory)
        still = still + 1 if now == before else 0
        before = now
        if now != seen and still >= STILL:
            return now
        await asyncio.sleep(max(LOOK_S, PAUSE * (loop.time() - began)))
