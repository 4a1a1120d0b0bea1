"""The timer of deadlines."""

from __future__ import annotations

import asyncio
import gc
from time import monotonic
from weakref import ref

from inferencehub.core.lane.deadlines import Deadlines
from inferencehub.core.lane.job import Job
from tests.core.lane.jobs import job


async def test_the_jobs_whose_deadline_has_passed_expire_oldest_first() -> None:
    now = monotonic()
    first, second, later = job(deadline=now + 0.02), job(deadline=now + 0.01), job(deadline=now + 60)
    jobs, expired, done = [first, second, later], list[Job](), asyncio.Event()

    def expire(one: Job) -> None:
        jobs.remove(one)
        expired.append(one)
        if len(expired) == 2:
            done.set()

    deadlines = Deadlines(asyncio.get_running_loop(), jobs, expire)
    deadlines.set(now + 0.03, now)
    await asyncio.wait_for(done.wait(), 30)
    assert expired == [first, second]
    assert deadlines.at == later.deadline


async def test_a_timer_keeps_nothing_that_is_gone() -> None:
    now = monotonic()
    deadlines = Deadlines(asyncio.get_running_loop(), [job(deadline=now + 60)], lambda _: None)
    deadlines.set(now + 60, now)
    gone = ref(deadlines)
    gc.disable()
    try:
        del deadlines
        assert gone() is None
    finally:
        gc.enable()
