"""Jobs beside calls of their model: calls go first, and jobs get their floor, or what calls leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest

from tests.gateway.jobs.test_jobs import ADD, ask, ended, running, submitted
from tests.gateway.python_model import hold, python_model, release
from tests.hub import Hub, eventually, mock_model, running_hub
from tests.load import Load
from tests.valkey import running_valkey

JOB = ("/predict", {"features": [1.0], "model_name": "quick"})
ONCE = 'parameters { key: "run_at_most_once" value { string_value: "true" } }'


@asynccontextmanager
async def small_hub(directory: Path, delay_ms: int, more: str = "", **settings: Any) -> AsyncIterator[Hub]:
    """A pod with two instances, and a gateway with jobs."""
    mock_model(directory / "models", "quick", delay_ms=delay_ms, slots=2, more=more)
    settings |= {"jobs": f"sqlite:{directory / 'jobs.db'}", "drain_timeout_s": 0.2}
    async with running_hub(directory / "models", **settings) as hub:
        yield hub


@pytest.mark.parametrize("floor", [0.0, 0.2])
async def test_behind_calls_without_end_jobs_get_their_floor(tmp_path: Path, floor: float) -> None:
    async with small_hub(tmp_path, 10, jobs_floor=floor) as hub:
        (lane,) = hub.gateway.table.routes["quick", ""]
        async with Load(hub.url, "quick", 12) as load:
            await eventually(lambda: lane.lane.queue.rows > 0 and load.good > 20)
            jobs = [await submitted(hub, *JOB) for _ in range(5)]
            if floor:
                for job in jobs:
                    await ended(hub, job)
            else:
                before = load.good
                await eventually(lambda: load.good > before + 100)
                assert [(await ask(hub, "GET", job))[1]["ended"] for job in jobs] == [None] * 5
            assert lane.lane.queue.rows > 0
        for job in jobs:
            assert (await ended(hub, job))["attempts"] == 1
        assert not load.failed


@pytest.mark.parametrize(
    ("delay_ms", "more", "most"),
    [(10, "", 3), (150, "", 2), (10, ONCE, 2)],
    ids=["quick", "slow", "quick but not twice"],
)
async def test_where_runs_are_quick_the_next_jobs_are_there_before(
    tmp_path: Path, delay_ms: int, more: str, most: int
) -> None:
    """Of two instances; else each of them would wait for the store after every run."""
    async with small_hub(tmp_path, delay_ms, more) as hub:
        await ended(hub, await submitted(hub, *JOB))  # how long a run takes is known then
        path, body = JOB
        items = [{"url": path, "body": body}] * (8 if delay_ms > 10 else 60)
        _, batch, _ = await ask(hub, "POST", "/v2/jobs", items)
        held = 0
        while (await ask(hub, "GET", f"/v2/jobs/{batch['id']}"))[1]["state"] != "succeeded":
            for _ in range(1000):
                held = max(held, sum(not one.ended for one in running(hub)))
                await asyncio.sleep(0)
        assert held == most


async def test_a_job_that_waits_behind_calls_has_not_run(tmp_path: Path) -> None:
    """So it goes back to the store as its gateway ends, also of a model that must not run twice."""
    async with aiohttp.ClientSession() as callers:
        async with small_hub(tmp_path, 60_000, more=ONCE) as hub:
            path, body = JOB
            calls = [asyncio.create_task(callers.post(hub.url + path, json=body)) for _ in range(4)]
            (lane,) = hub.gateway.table.routes["quick", ""]
            await eventually(lambda: lane.lane.in_use.jobs == 3)
            jobs = [await submitted(hub, *JOB) for _ in range(2)]
            await eventually(lambda: len(lane.lane.background) == 1)
            assert [one.runs() for one in running(hub)] == [False]
        await asyncio.gather(*calls, return_exceptions=True)
    async with small_hub(tmp_path, 0, more=ONCE) as hub:
        for job in jobs:
            assert (await ended(hub, job))["state"] == "succeeded"


async def test_a_job_begins_when_calls_no_longer_need_their_slot_though_no_run_has_ended(
    tmp_path: Path,
) -> None:
    async with aiohttp.ClientSession() as callers, small_hub(tmp_path, 60_000) as hub:
        path, body = JOB
        (lane,) = hub.gateway.table.routes["quick", ""]
        call = asyncio.create_task(callers.post(hub.url + path, json=body))
        await eventually(lambda: lane.lane.in_use.calls == 1)
        for _ in range(2):
            await submitted(hub, *JOB)
        await eventually(lambda: (lane.lane.in_use.background, lane.lane.background.rows) == (1, 1))
        call.cancel()
        await eventually(lambda: lane.lane.in_use.calls == 0)
        assert (lane.lane.in_use.background, lane.lane.background.rows) == (1, 1)
        later = monotonic() + 30  # by then calls have needed nothing lately
        assert lane.lane.in_use.left_to_calls(later) == 0
        await eventually(lambda: lane.lane.in_use.background == 2)


async def test_a_batch_of_jobs_waits_behind_calls_and_goes_back_as_soon_as_its_gateway_ends(
    tmp_path: Path,
) -> None:
    """It does not wait for the grace of what runs; all others have stayed in the store."""
    models, x = tmp_path / "models", {"inputs": [{**ADD, "shape": [1, 1]}]}
    python_model(models, "double", tmp_path / "log", more="max_batch_size: 4")
    async with (
        aiohttp.ClientSession() as callers,
        running_hub(models, jobs=f"sqlite:{tmp_path / 'jobs.db'}", jobs_floor=0.0) as hub,
    ):
        hold(models, "double")
        path = "/v2/models/double/infer"
        (lane,) = hub.gateway.table.routes["double", ""]
        calls = []
        for _ in range(2):  # one runs, and one is on its way
            calls.append(asyncio.create_task(callers.post(hub.url + path, json=x)))
            await eventually(lambda: lane.lane.in_use.jobs == len(calls))
        for _ in range(10):
            await submitted(hub, path, x)
        await eventually(lambda: lane.lane.background.rows == 4)
        assert len(running(hub)) == 4
        assert hub.gateway.jobs is not None
        stopping = asyncio.create_task(hub.gateway.jobs.jobs.worker.stop(60.0))
        await eventually(lambda: not running(hub))
        await stopping
        release(models, "double")
        assert [answer.status for answer in await asyncio.gather(*calls)] == [200, 200]


async def test_what_has_ended_is_kept_as_its_gateway_ends(tmp_path: Path) -> None:
    """Its result waits for a store that is down: it waits in no lane, though it is at no pod."""
    mock_model(tmp_path / "models", "quick", delay_ms=300, slots=2, more=ONCE)
    async with (
        running_valkey(tmp_path) as valkey,
        running_hub(tmp_path / "models", jobs=valkey.url) as hub,
    ):
        job = await submitted(hub, *JOB, "always")
        await eventually(lambda: [one.runs() for one in running(hub)] == [True])
        await valkey.stop()
        await eventually(lambda: [one.ended for one in running(hub)] == [True])
        assert hub.gateway.jobs is not None
        stopping = asyncio.create_task(hub.gateway.jobs.jobs.worker.stop(30.0))
        await asyncio.sleep(0.2)  # nothing may go back
        await valkey.start()
        await stopping
        found = (await ask(hub, "GET", job))[1]
        assert (found["state"], found["attempts"]) == ("succeeded", 1)
