"""The life of a process, from start to end, the same for every tier.

SIGTERM starts a drain and then a stop; a second SIGTERM ends the drain early. SIGINT (Ctrl-C on a laptop) stops without
a drain. A SIGINT after that, or while the stop waits for running requests, ends the process immediately.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import uvloop

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.collector import collect_when_idle, spare_the_collector
from inferencehub.core.process.settings import SettingError
from inferencehub.core.values.errors import HubError

logger = logging.getLogger(__name__)

# Parameters of glibc's mallopt (numbers from malloc.h), and our values for them, in bytes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_FREE, MAPPED_FROM = 32 * 2**20, 16 * 2**20


class Service(Protocol):
    """A tier's process: it can start, drain and stop."""

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            OSError: if a port is taken.
        """

    async def drain(self) -> None:
        """Report "not ready", and keep serving until callers have noticed it."""

    async def stop(self) -> None:
        """Stop serving and release everything."""


async def live(service: Service) -> None:
    """Start a service, serve until a signal comes, drain, stop.

    Raises:
        SettingError: if the service cannot start because of an OSError, such as a port that is taken.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    at_once = asyncio.Event()  # set once nothing is left to do before the stop

    def on_signal(number: int) -> None:
        if at_once.is_set() and number == signal.SIGINT:
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
    collecting = loop.create_task(collect_when_idle())
    await ended.wait()
    collecting.cancel()
    await until_either(service.drain(), at_once)
    at_once.set()
    await service.stop()


async def until_either(work: Any, event: asyncio.Event) -> None:
    """Wait until `work` is done or `event` is set. In the second case, cancel `work`."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(event.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def keep_freed_memory() -> None:
    """Make glibc's malloc keep freed memory for the next requests. Does nothing with another C library.

    By default, glibc gives the memory of each large body back to the operating system and asks for it again for the
    next body. Each 4 KiB of new memory then costs a page fault. For a binary tensor of 600 KB, these page faults take
    more time than all other work.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE)
        mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)


def open_standard_streams() -> None:
    """Open /dev/null for each standard stream that is closed when the process starts.

    Otherwise the next socket or file would get the stream's number, and a library that writes to stdout or stderr would
    write into it. Go and Node.js do the same at their start.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - both stay open
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def run(main: Callable[[], Awaitable[None]]) -> int:
    """Run a tier's `main` and exit with 0 after it.

    Returns:
        2 after an error that the operator must fix (`HubError`, or an error of settings and the files that they name). Its sentence is on stderr.
    """
    open_standard_streams()
    keep_freed_memory()
    try:
        uvloop.run(main())  # type: ignore[arg-type]
    except (SettingError, BadFile) as error:
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
