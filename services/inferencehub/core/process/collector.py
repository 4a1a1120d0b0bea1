"""The garbage collector: it runs rarely under load, and once in a while when the process has nothing to do.

Nothing that is large should need it: buffers, connections and requests are in no reference cycle, and go when the last
one that uses them goes (`tests/test_cycles.py`). A full collection takes 1 to 40 ms, in which the process does nothing
else. It is the safety net for cycles that nobody knows of, in libraries and in users' models.
"""

from __future__ import annotations

import asyncio
import gc
from time import monotonic, process_time

EVERY_S = 30.0  # the time between two full collections, if the process is idle then
LOOK_S = 1.0  # over which time it must be idle
LATEST_S = 300.0  # how long a collection waits for that
IDLE = 0.1  # the CPU time that an idle process uses, as a part of one CPU


def spare_the_collector() -> None:
    """Make the garbage collector run rarely, and exclude all objects that exist now.

    Objects that were loaded at the start stay until the end, so the collector need not visit them. Requests leave no
    reference cycles, so rare collections are enough (by default one starts every 700 new objects).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def collect_when_idle(
    every_s: float = EVERY_S, look_s: float = LOOK_S, latest_s: float = LATEST_S
) -> None:
    """Run a full collection again and again, until this task is cancelled.

    Args:
        every_s: seconds between two collections.
        look_s: seconds over which the process must be idle before a collection.
        latest_s: seconds after which a collection waits no longer for that.
    """
    while True:
        await asyncio.sleep(every_s)
        latest = monotonic() + latest_s
        while monotonic() < latest:
            used = process_time()
            await asyncio.sleep(look_s)
            if process_time() - used < IDLE * look_s:
                break
        gc.collect()
