"""Threads for runtimes whose work releases the GIL or is short. Very short work runs on the event loop's thread.

A thread cannot be stopped. If the caller has left, the instance stays busy until the work has ended, and the result is
thrown away. After `close`, nothing waits for running work: the process ends without it.

The standard library's ThreadPoolExecutor is too slow for small models: its futures have locks for waiting threads, and
are chained to futures of the event loop, which takes as long as a small model runs. Here a thread takes work from a
queue, and reports its end with one callback on the loop.
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
    """A piece of work. The loop creates it and reads its result; a thread calls it."""

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
        with suppress(RuntimeError):  # the loop was closed before the work ended
            self.loop.call_soon_threadsafe(self.ended)

    def outcome(self) -> T:
        """The result of the work, once it is over; raises what the work raised."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
            return self.result
        finally:
            del error  # its traceback has this frame: a cycle that would keep the work's inputs

    def ended(self) -> None:
        self.over = True
        if not self.waiter.done():
            self.waiter.set_result(None)


class _Timed(Generic[T]):
    """Work that measures the CPU time of its thread, in seconds."""

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
    """At most one thread for each instance of a model. A thread is started when there is work for it.

    Args:
        name: the model's name, which is part of the threads' names.
        count: the number of instances.
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
        """Same as `run`, but work that is expected to be very short runs inline; `size` is its input in bytes."""
        timed = _Timed(work)
        try:
            if self._inline_runs.fits(size) and not self._closed:
                return timed()
            return await self.run(timed)
        finally:
            self._inline_runs.ran(size, timed.took)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread and return its result. A cancellation takes effect when the work has ended.

        Raises:
            RuntimeError: if the threads have been closed, or the system gives no thread.
            Exception: whatever `work` raises.
        """
        if self._closed:
            raise RuntimeError("the threads have been closed")
        loop = asyncio.get_running_loop()
        run = _Run(work, loop)
        if len(self._threads) < min(self._busy + 1, self.count):
            self._start()
        self._busy += 1
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
        return run.outcome()

    def close(self) -> None:
        """End the threads without waiting for them. A busy thread ends when its work is done."""
        self._closed = True
        with suppress(Empty):
            while (run := self._queue.get_nowait()) is not None:
                run.waiter.cancel()
        for _ in self._threads:
            self._queue.put(None)

    def _start(self) -> None:
        name = f"model-{self.name}_{len(self._threads)}"
        # A daemon: at its end, the interpreter would wait for any other thread.
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives none now
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (run := self._queue.get()) is not None:
            run()
            del run  # release its result and inputs now, not when the next run comes
