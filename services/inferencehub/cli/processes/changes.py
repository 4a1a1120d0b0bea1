"""Sees that files below a directory have changed, and waits until nobody writes any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inferencehub.core.files.tree import Seen, look

LOOK_S = 0.05  # between two looks
STILL = 2  # looks without a difference after which a change counts as whole: files are written one after the other
PAUSE = 4  # times as long as a look took is the pause behind it: large trees are looked at less often


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
