"""Waiting for events and for several tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any


async def until(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, but at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run all coroutines until the first one ends. Cancel the others. Raise the exception of the first one, if any."""
    tasks = [asyncio.get_running_loop().create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in tasks if task.done()]
        while done:
            done.pop().result()
    finally:
        await cancelled(tasks)
        tasks.clear()  # an exception refers to this frame, and its task to the exception: a reference cycle


async def cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until all have ended. Their results and exceptions are ignored."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        with suppress(asyncio.CancelledError):
            task.exception()  # a cancelled task keeps its CancelledError, and so its frames, until someone asks
