"""A process shows how late its event loop is, and how long its garbage collector stops it."""

from __future__ import annotations

import asyncio
import gc
from time import sleep

from prometheus_client import CollectorRegistry

from inferencehub.core.process.resources.event_loop import EventLoopLag
from inferencehub.core.process.resources.garbage import CollectorPauses
from tests.hub import eventually

LAG = "inferencehub_process_event_loop_lag_seconds"
PAUSE = "inferencehub_process_gc_pause_seconds"


async def test_a_loop_that_is_held_up_is_late() -> None:
    registry = CollectorRegistry()
    lag = EventLoopLag(registry, every_s=0.01)
    lag.start()

    def seen(ending: str) -> float:
        return registry.get_sample_value(LAG + ending) or 0.0

    await eventually(lambda: seen("_count") > 2)
    before = seen("_sum")
    asyncio.get_running_loop().call_soon(sleep, 0.3)
    await eventually(lambda: seen("_sum") - before >= 0.29)
    lag.stop()
    quick = registry.get_sample_value(f"{LAG}_bucket", {"le": "0.1"}) or 0.0
    assert seen("_count") - quick >= 15, "the timers that it has missed count too, those over 0.1 s here"
    count = seen("_count")
    await asyncio.sleep(0.05)
    assert seen("_count") == count


def test_a_collection_is_a_pause_of_its_generation() -> None:
    registry = CollectorRegistry()
    pauses = CollectorPauses(registry)

    def seen(ending: str) -> float | None:
        return registry.get_sample_value(PAUSE + ending, {"generation": "2"})

    assert seen("_count") == 0
    pauses.start()
    try:
        gc.collect()
        assert (seen("_count") or 0) >= 1
        assert (seen("_sum") or 0) > 0
    finally:
        pauses.stop()
    count = seen("_count")
    gc.collect()
    assert seen("_count") == count
    pauses.stop()  # also if it was not started
