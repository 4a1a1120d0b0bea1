"""A full collection runs when the process is idle, even if the collector never starts by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import thread_time
from weakref import ref

import pytest

from inferencehub.core.process.collector import collect_when_idle
from tests.cycles import without_collector
from tests.hub import eventually


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def is_gone(one: ref[Node]) -> bool:
    """Whether it was freed."""
    return one() is None


@contextmanager
def busy() -> Iterator[list[float]]:
    """A thread that uses a CPU, and the CPU time that it has used."""
    used, over = [0.0], threading.Event()

    def work() -> None:
        while not over.is_set():
            used[0] = thread_time()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield used
    finally:
        over.set()
        thread.join()


@pytest.mark.long
async def test_an_idle_process_frees_cycles_again_and_again() -> None:
    with without_collector():
        collecting = asyncio.create_task(collect_when_idle(every_s=0.01, look_s=0.5))
        for _ in range(2):
            cycle = ref(Node())
            assert cycle() is not None
            await eventually(partial(is_gone, cycle))
        collecting.cancel()


@pytest.mark.timing
async def test_a_busy_process_waits_but_not_for_ever() -> None:
    with without_collector():
        with busy() as used:
            collecting = asyncio.create_task(collect_when_idle(every_s=0.0, look_s=1.0, latest_s=60.0))
            cycle = ref(Node())
            await eventually(lambda: used[0] > 1.0)
            assert cycle() is not None
        await eventually(partial(is_gone, cycle))
        collecting.cancel()
        with busy():
            cycle = ref(Node())
            collecting = asyncio.create_task(collect_when_idle(every_s=0.0, look_s=0.05, latest_s=0.3))
            await eventually(partial(is_gone, cycle))
            collecting.cancel()
