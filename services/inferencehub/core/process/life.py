"""A process from its settings to its end: the same for every tier.

SIGTERM drains and then stops; a second one cuts the drain short. SIGINT, Ctrl-C on a laptop, stops without a drain, and
one that comes while a stop waits for requests that run ends the process there and then.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import uvloop

from inferencehub.core.process.settings import SettingError
from inferencehub.core.values.errors import HubError

logger = logging.getLogger(__name__)

# glibc's mallopt: the parameters' numbers in malloc.h, and what they are set to, in bytes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_FREE, MAPPED_FROM = 32 * 2**20, 16 * 2**20


class Service(Protocol):
    """What has a life."""

    async def start(self) -> None:
        """Begin to serve."""

    async def drain(self) -> None:
        """Say that the end is near, and serve on until callers have seen it."""

    async def stop(self) -> None:
        """End."""


async def live(service: Service) -> None:
    """Start a service, serve until a signal comes, drain, stop."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    at_once = asyncio.Event()
    stopping = False

    def on_signal(number: int) -> None:
        if stopping and number == signal.SIGINT:
            os._exit(128 + number)
        if number == signal.SIGINT or ended.is_set():
            at_once.set()
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await service.start()
    except OSError as error:
        raise SettingError(str(error)) from error
    spare_the_collector()
    await ended.wait()
    await until_either(service.drain(), at_once)
    stopping = True
    await service.stop()


def spare_the_collector() -> None:
    """What is loaded by now stays: the collector need not walk it again, nor look every 700 new objects.

    Requests leave no cycles behind, so that a rare look finds what little there is.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def until_either(work: Any, event: asyncio.Event) -> None:
    """Wait for `work`, or until `event` is set; then the work is cancelled."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(event.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def keep_freed_memory() -> None:
    """Have malloc keep what was freed for the next request of that size, where it is glibc's.

    By itself it gives the memory of each large body back to the system and asks for it again with the next one, which
    then takes a page fault for every 4 KiB: more time than all else that is done with a binary tensor of 600 KB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE)
        mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)


def open_standard_streams() -> None:
    """Open /dev/null for each standard stream that the process was started without.

    Otherwise the next socket or file gets its number, and what any library writes to stdout or stderr goes there. Go and
    Node.js do the same when they start.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - both stay open
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def run(main: Callable[[], Awaitable[None]]) -> int:
    """Run a tier's `main`; what its operator must mend is one sentence on stderr and exit code 2."""
    open_standard_streams()
    keep_freed_memory()
    try:
        uvloop.run(main())  # type: ignore[arg-type]
    except SettingError as error:
        sentence = str(error)
    except HubError as error:
        sentence = error.detail
    else:
        logging.shutdown()
        # A thread that still runs a model cannot be stopped, and the interpreter would wait for it.
        os._exit(0)
    logging.shutdown()  # what was logged before comes first
    sys.stderr.write(f"inferencehub: {sentence}\n")
    return 2
