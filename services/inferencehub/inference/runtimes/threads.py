"""Threads for runtimes whose work lets go of the GIL, or is short.

A thread cannot be stopped: when nobody wants the answer any more, the instance stays taken until the work has ended,
and the answer is thrown away. Only after `close` does nobody wait for it: the process ends without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """One thread an instance, named after its model.

    Args:
        name: the model's name.
        count: its instances.
    """

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=f"model-{name}")
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, run in a thread; a cancellation takes effect when the work has ended."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        cancelled = False
        while True:
            try:
                result = await asyncio.shield(future)
                break
            except asyncio.CancelledError:
                if self._closed or future.cancelled():
                    raise
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError
        return result

    def close(self) -> None:
        """End the threads, without waiting; those that still work end when they are done."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
