"""Waiting: a cancellation is never lost, whatever ends in the same moment."""

from __future__ import annotations

import asyncio

import pytest

from inferencehub.core.process.tasks import cancelled, first_of, until


@pytest.mark.parametrize("passes", range(5))
async def test_a_cancellation_that_comes_with_the_event_is_not_lost(passes: int) -> None:
    # asyncio.wait_for loses it on Python 3.11 (cpython issue 86296)
    event = asyncio.Event()
    ended = False

    async def wait_twice() -> None:
        nonlocal ended
        await until(event, 60)
        await asyncio.sleep(0)
        ended = True
        await asyncio.Event().wait()

    task = asyncio.create_task(wait_twice())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    for _ in range(passes):
        await asyncio.sleep(0)
    waits = not ended
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=60)
    assert done, f"the task went on, though it was cancelled {passes} passes after the event ({waits=})"
    assert task.cancelled()


async def test_a_cancellation_that_comes_with_the_timeout_is_not_lost() -> None:
    for _ in range(50):
        task = asyncio.create_task(until(asyncio.Event(), 0.001))
        asyncio.get_running_loop().call_later(0.001, task.cancel)
        await asyncio.wait([task])

        async def go_on() -> None:
            await until(asyncio.Event(), 0.001)
            await asyncio.Event().wait()

        task = asyncio.create_task(go_on())
        asyncio.get_running_loop().call_later(0.001, task.cancel)
        assert (await asyncio.wait([task], timeout=60))[0]


async def test_until_ends_with_the_event_or_the_time() -> None:
    event = asyncio.Event()
    await until(event, 0.001)
    event.set()
    await until(event, 1e6)


async def test_the_first_that_ends_ends_the_others_and_its_error_is_raised() -> None:
    ends: list[str] = []

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await first_of(other(), failing(), other())
    assert ends == ["cancelled", "cancelled"]
    await cancelled([])
