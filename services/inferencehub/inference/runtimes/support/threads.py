"""Threads for runtimes whose work lets go of the GIL, or is short; very short work stays in the event loop's.

A thread cannot be stopped: when nobody wants the answer any more, the instance stays taken until the work has ended,
and the answer is thrown away. Only after `close` does nobody wait for it: the process ends without it.

Not an executor of the library: its futures are made to be waited for by threads, with locks of their own, and chained
to those of the event loop. For a small model that costs as much as the model. Here a thread takes work off a queue,
and says with one callback on the loop that it has ended.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import thread_time
from typing import Any, Generic, TypeVar

from inferencehub.inference.runtimes.support.cpu_limit import cpu_limit
from inferencehub.inference.runtimes.support.inline import InlineRuns

T = TypeVar("T")


class _Run(Generic[T]):
    """A piece of work: made and looked at on the loop, called in a thread."""

    __slots__ = ("error", "loop", "over", "result", "waiter", "work")

    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.waiter: asyncio.Future[None] = loop.create_future()
        self.over = False
        self.error: BaseException | None = None
        self.result: T

    def __call__(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        with suppress(RuntimeError):  # the loop has ended before the work
            self.loop.call_soon_threadsafe(self.ended)

    def ended(self) -> None:
        self.over = True
        if not self.waiter.done():
            self.waiter.set_result(None)


class _Timed(Generic[T]):
    """Work, and the seconds of the processor that it took its thread."""

    __slots__ = ("took", "work")

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.took = 0.0

    def __call__(self) -> T:
        began = thread_time()
        try:
            return self.work()
        finally:
            self.took = thread_time() - began


class Threads:
    """One thread an instance, named after its model, and started when there is work for it.

    Args:
        name: the model's name.
        count: its instances.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self._inline_runs = InlineRuns(cpu_limit())
        self._queue: SimpleQueue[_Run[Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closed = False

    async def run_sized(self, work: Callable[[], T], size: int) -> T:
        """As `run`, of work on an input of `size` bytes: where that will be very short, it is done here and now."""
        timed = _Timed(work)
        try:
            if self._inline_runs.fits(size) and not self._closed:
                return timed()
            return await self.run(timed)
        finally:
            self._inline_runs.ran(size, timed.took)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, run in a thread; a cancellation takes effect when the work has ended."""
        if self._closed:
            raise RuntimeError("the threads have been closed")
        loop = asyncio.get_running_loop()
        run = _Run(work, loop)
        self._busy += 1
        if len(self._threads) < min(self._busy, self.count):
            self._start()
        self._queue.put(run)
        cancelled = False
        try:
            while True:
                try:
                    await run.waiter
                    break
                except asyncio.CancelledError:
                    if self._closed:
                        raise
                    cancelled = True
                    if run.over:
                        break
                    run.waiter = loop.create_future()
        finally:
            self._busy -= 1
        if cancelled:
            raise asyncio.CancelledError
        if run.error is not None:
            raise run.error
        return run.result

    def close(self) -> None:
        """End the threads, without waiting; those that still work end when they are done."""
        self._closed = True
        with suppress(Empty):
            while (run := self._queue.get_nowait()) is not None:
                run.waiter.cancel()
        for _ in self._threads:
            self._queue.put(None)

    def _start(self) -> None:
        name = f"model-{self.name}_{len(self._threads)}"
        # A daemon, for the interpreter would wait for any other at its end.
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (run := self._queue.get()) is not None:
            run()
            del run  # what it holds is not kept until the next one comes
