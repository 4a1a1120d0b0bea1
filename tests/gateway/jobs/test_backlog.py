"""What waits in the store is demand: once for all gateways, by how long jobs run, and also of a pool without pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from inferencehub.core.values.demand import Report, by_model, by_pool
from inferencehub.gateway.jobs.running.backlog import Backlog
from inferencehub.gateway.jobs.store import Waiting
from inferencehub.gateway.server import Gateway
from tests.gateway.jobs.test_jobs import INFER, LATER, ask, ended, submitted
from tests.gateway.python_model import hold, python_model, release
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub, running_pod
from tests.ports import free_port
from tests.valkey import running_valkey

X = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]}


async def test_slots_follow_from_how_long_jobs_run() -> None:
    backlog = Backlog(60.0)
    waiting = {"a": Waiting(500, 0.0), "b/2": Waiting(3, 0.0)}
    assert backlog.slots(waiting) == {("a", ""): 1.0, ("b", "2"): 1.0}  # nothing is known: one slot finds out
    backlog.ran("a", 0.5)
    backlog.ran("b/2", 600.0)
    found = backlog.slots(waiting)
    assert found["a", ""] == pytest.approx(500 * 0.5 / 60)
    assert found["b", "2"] == 3.0  # a job needs no more than a slot
    for _ in range(200):
        backlog.ran("a", 0.1)
    assert backlog.slots(waiting)["a", ""] == pytest.approx(500 * 0.1 / 60, rel=0.01)
    assert backlog.slots({}) == {}


def shared(gateway: Gateway) -> Report:
    """What a gateway reports, seen just now."""
    gateway.demand.tick()
    return gateway.demand.report(0.5)


@pytest.mark.long
async def test_gateways_tell_the_same_and_it_counts_once(tmp_path: Path) -> None:
    python_model(tmp_path / "models", "double", tmp_path / "log", slots=2)
    async with (
        running_valkey(tmp_path / "valkey") as valkey,
        running_hub(tmp_path / "models", pod={"pool": "cpu"}, jobs=valkey.url, jobs_drain_s=1.0) as hub,
        running_gateway((f"127.0.0.1:{hub.pods[0].port}",), jobs=valkey.url, jobs_drain_s=1.0) as other,
    ):
        await eventually(lambda: other.fleet.ready)
        path = "/v2/models/double/infer"
        await ended(hub, await submitted(hub, path, X, "always"))  # the gateway that ran it knows the time
        hold(tmp_path / "models", "double")
        jobs = [await submitted(hub, path, X, "always") for _ in range(40)]
        gateways = (hub.gateway, other)

        def waiting() -> list[int]:
            return [g.jobs.jobs.worker.waiting.get("double", (0, 0))[0] for g in gateways if g.jobs]

        await eventually(lambda: waiting()[0] == waiting()[1] > 20)
        here, there = (shared(gateway) for gateway in gateways)
        (one,), (same,) = here.shared, there.shared
        for told in (one, same):
            assert (told.pool, told.model, told.version) == ("cpu", "double", "1")
            assert (told.slots, told.running) == (2, 0.0)
        own = by_pool(by_model([Report(1.0, here.models), Report(1.0, there.models)]))
        # The other gateway still asks for one slot. What the first one knows may be less, or more.
        assert by_pool(by_model([here, there]))["cpu"] == pytest.approx(own["cpu"] + max(one.pods, same.pods))
        assert (
            'inferencehub_gateway_shared_demand{model="double",pool="cpu",version="1"}' in await hub.metrics()
        )
        release(tmp_path / "models", "double")
        assert {(await ended(hub, job))["state"] for job in jobs} == {"succeeded"}
        await eventually(lambda: waiting() == [0, 0])
        assert [shared(gateway).shared for gateway in gateways] == [[], []]


@asynccontextmanager
async def asleep(directory: Path) -> AsyncIterator[tuple[Hub, int]]:
    """A gateway whose pool has no pods, and the port at which it looks for one."""
    mock_model(directory / "models")
    port = free_port()
    jobs = f"sqlite:{directory / 'jobs.db'}"
    async with (
        running_gateway((f"127.0.0.1:{port}",), jobs=jobs, on_demand_models=("cpu/quick:4",)) as gateway,
        aiohttp.ClientSession() as client,
    ):
        yield Hub(gateway, [], client), port


async def test_a_version_that_is_named_is_looked_for_when_its_pool_is_awake(tmp_path: Path) -> None:
    """Else a job of one that is not there would wait as long as it may, and keep the pool awake."""
    async with asleep(tmp_path) as (hub, port):
        gateway = hub.gateway
        asked = [
            asyncio.create_task(ask(hub, "POST", f"/v2/models/quick/versions/{one}/infer", INFER, **LATER))
            for one in (1, 99)
        ]
        await eventually(lambda: gateway.unknown.held == {"quick": 2})
        async with running_pod(tmp_path / "models", port=port, pool="cpu"):
            assert [(await one)[0] for one in asked] == [202, 404]
            await eventually(lambda: not shared(gateway).shared)


async def test_a_job_of_a_pool_that_sleeps_is_accepted_and_wakes_it(tmp_path: Path) -> None:
    async with asleep(tmp_path) as (hub, port):
        gateway = hub.gateway
        good = await submitted(hub, "/v2/models/quick/infer", INFER)
        predicted = await submitted(hub, "/predict", {"features": [1.0, 2.0], "model_name": "quick"})
        made = await submitted(hub, "/v2/models/quick/generate", {"features": [1.0, 2.0]})
        wrong = await submitted(hub, "/v2/models/quick/infer", X)
        assert (await ask(hub, "GET", good))[1]["state"] == "queued"
        await eventually(lambda: by_pool(by_model([shared(gateway)])).get("cpu") == 0.25)
        assert gateway.unknown.held == {}
        assert gateway.jobs is not None
        assert not gateway.jobs.jobs.worker.running.all()  # none is taken before a pod is there
        async with running_pod(tmp_path / "models", port=port, pool="cpu"):
            found = [await ended(hub, job) for job in (good, predicted, made, wrong)]
            assert [(one["state"], one["status"]) for one in found] == [("succeeded", 200)] * 3 + [
                ("failed", 400)
            ]
            assert "x" in found[-1]["error"]
            await eventually(lambda: not shared(gateway).shared)
            _, answer, _ = await ask(hub, "GET", f"{good}/result")
            assert (
                answer["outputs"] == (await ask(hub, "POST", "/v2/models/quick/infer", INFER))[1]["outputs"]
            )
