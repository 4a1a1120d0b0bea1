"""Threads of runtimes: their work cannot be stopped, and the process does not wait for it at its end."""

from __future__ import annotations

import asyncio
import threading
from time import thread_time

import pytest

from inferencehub.inference.runtimes.support.inline import IN_A_ROW, LONG_S
from inferencehub.inference.runtimes.support.threads import Threads
from tests.hub import eventually
from tests.threads import no_new_threads


async def test_close_does_not_wait_for_work() -> None:
    threads, begun, end = Threads("m", 1), threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return end.wait(60)

    runs = [asyncio.create_task(threads.run(work)) for _ in range(2)]
    try:
        await asyncio.to_thread(begun.wait)
        threads.close()
        # What had not begun is cancelled, and does not begin any more.
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(runs[1], 30)
        # What works on is waited for by those who want its answer, and by nobody else.
        assert not runs[0].done()
        runs[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(runs[0], 30)
    finally:
        end.set()


async def test_a_cancellation_takes_effect_when_the_work_has_ended() -> None:
    threads, end = Threads("m", 1), threading.Event()
    run = asyncio.create_task(threads.run(lambda: end.wait(10)))
    for _ in range(3):
        await asyncio.sleep(0.01)
        run.cancel()
    assert not run.done()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await threads.run(lambda: 5) == 5
    threads.close()


async def test_there_are_as_many_threads_as_were_needed_at_a_time_and_no_more_than_instances() -> None:
    threads, ends = Threads("many", 3), [threading.Event() for _ in range(5)]

    def alive() -> int:
        return sum(thread.name.startswith("model-many") for thread in threading.enumerate())

    for _ in range(3):
        await threads.run(lambda: None)
    assert alive() == 1
    runs = [asyncio.create_task(threads.run(end.wait)) for end in ends]
    await eventually(lambda: alive() == 3)
    for end in ends:
        end.set()
    assert await asyncio.gather(*runs) == [True] * 5
    threads.close()
    await eventually(lambda: not alive())


async def test_what_the_work_raises_reaches_who_waits_and_the_thread_lives_on() -> None:
    threads = Threads("m", 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)
    assert await threads.run(lambda: 5) == 5
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        await threads.run(lambda: 5)


async def test_short_work_comes_to_the_loop_after_a_while_and_long_work_leaves_it_for_good() -> None:
    threads = Threads("m", 1)
    names: list[str] = []

    def work() -> None:
        names.append(threading.current_thread().name)

    def long() -> None:
        work()
        end = thread_time() + 2 * LONG_S
        while thread_time() < end:
            pass

    for _ in range(20 * IN_A_ROW):  # now and then one is not short, for the machine does other things too
        await threads.run_sized(work, 8)
        if names[-1] == threading.main_thread().name:
            break
    assert names[0] == "model-m_0"
    assert names[-1] == threading.main_thread().name
    await threads.run_sized(long, 8)
    names.clear()
    for _ in range(2 * IN_A_ROW):
        await threads.run_sized(work, 8)
    assert set(names) == {"model-m_0"}
    threads.close()


async def test_work_on_the_loop_fails_as_in_a_thread() -> None:
    threads = Threads("m", 1)
    for _ in range(2 * IN_A_ROW):
        with pytest.raises(ZeroDivisionError):
            await threads.run_sized(lambda: 1 / 0, 8)
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        await threads.run_sized(lambda: 1, 8)


async def test_work_runs_again_after_the_system_gave_no_thread() -> None:
    threads = Threads("m", 1)
    with no_new_threads(), pytest.raises(RuntimeError, match="can't start new thread"):
        await threads.run(lambda: 5)
    async with asyncio.timeout(20):
        assert await threads.run(lambda: 5) == 5
    threads.close()


async def test_one_thread_runs_all_work_if_the_system_gives_no_other() -> None:
    threads, begun, end = Threads("m", 2), threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return end.wait(60)

    running = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(begun.wait)
    with no_new_threads():
        waiting = asyncio.create_task(threads.run(lambda: 5))
        await asyncio.sleep(0)
    end.set()
    assert [await running, await waiting] == [True, 5]
    threads.close()
