"""The demand of a gateway's requests: slots in use, slots that requests wait for, and models without pods."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import msgspec
import pytest

from inferencehub.core.process.settings import SettingError
from inferencehub.core.values.demand import ModelDemand, Report
from inferencehub.gateway.routing.demand import SECOND_S, WINDOW_S, Demand
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings, OnDemand
from tests.gateway.python_model import hold, python_model, release
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub, running_pod
from tests.ports import free_port


def tell(demand: Demand, model: str = "quick") -> ModelDemand:
    return next(one for one in demand.report(WINDOW_S).models if one.model == model)


async def ask(hub: Hub, count: int, model: str = "quick") -> list[asyncio.Task[Any]]:
    """`count` requests, all of them at the lanes; for a model with an input `x`, or one that /predict serves."""
    x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}
    path, body = "/predict", {"features": [1.0], "model_name": model}
    if model == "double":
        path, body = f"/v2/models/{model}/infer", {"inputs": [x]}
    asked = [asyncio.create_task(hub.post(path, body)) for _ in range(count)]
    await eventually(
        lambda: sum(lane.lane.in_use.jobs + len(lane.lane.queue) for lane in lanes(hub, model)) == count
    )
    return asked


async def cancelled(asked: list[asyncio.Task[Any]]) -> None:
    """Let the callers of these requests leave."""
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)


def watch(hub: Hub) -> Demand:
    """A new view of a hub's demand, with no past."""
    return Demand(hub.gateway.fleet, hub.gateway.table, hub.gateway.unknown)


def lanes(hub: Hub, model: str) -> list[Any]:
    return hub.gateway.table.routes[model, ""]


async def test_what_runs_and_what_waits_needs_slots(tmp_path: Path) -> None:
    python_model(tmp_path, "double", tmp_path / "log", slots=2)
    async with running_hub(tmp_path, pod={"pool": "cpu"}) as hub:
        hold(tmp_path, "double")
        asked = await ask(hub, 7, "double")
        demand = watch(hub)
        await asyncio.sleep(0.3)
        demand.tick()
        told = tell(demand, "double")
        # Two slots and the one call on its way hold three, the other four wait.
        assert (told.pool, told.version, told.slots, told.queued) == ("cpu", "1", 2, 4.0)
        assert told.running == pytest.approx(3.0, abs=0.05)
        assert told.pods == pytest.approx(3.5, abs=0.05)
        release(tmp_path, "double")
        await asyncio.gather(*asked)
        await eventually(lambda: not any(lane.lane.in_use.jobs for lane in lanes(hub, "double")))
        demand = watch(hub)
        await asyncio.sleep(0.05)
        demand.tick()
        assert tell(demand, "double").pods == 0.0


async def test_a_merged_batch_holds_one_slot(tmp_path: Path) -> None:
    python_model(tmp_path, "batches", tmp_path / "log", more="max_batch_size: 8")
    async with running_hub(tmp_path) as hub:
        hold(tmp_path, "batches")
        x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}
        infer = "/v2/models/batches/infer"
        (lane,) = lanes(hub, "batches")
        asked: list[asyncio.Task[Any]] = []
        for count, running, queued in ((1, 1, 0), (1, 2, 0), (17, 2, 17)):
            asked += [asyncio.create_task(hub.post(infer, {"inputs": [x]})) for _ in range(count)]
            await eventually(lambda at=(running, queued): (lane.lane.in_use.jobs, len(lane.lane.queue)) == at)
        demand = watch(hub)
        await asyncio.sleep(0.1)
        demand.tick()
        # One request runs, one call is on its way; seventeen wait, and go as three batches.
        told = tell(demand, "batches")
        assert told.running == pytest.approx(2.0, abs=0.05)
        assert told.queued == 3.0
        release(tmp_path, "batches")
        assert {status for status, _, _ in await asyncio.gather(*asked)} == {200}


async def test_no_request_is_too_fast_to_be_seen(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path) as hub:
        demand = watch(hub)
        demand.tick()
        assert (await hub.post("/predict", {"features": [1.0], "model_name": "quick"}))[0] == 200
        demand.tick()
        assert tell(demand).running > 0.0


@pytest.mark.timing
async def test_a_window_is_a_mean_over_time(tmp_path: Path) -> None:
    mock_model(tmp_path, delay_ms=200, slots=1)
    async with running_hub(tmp_path) as hub:
        asked = await ask(hub, 1)
        demand = watch(hub)
        began = monotonic()
        await asyncio.gather(*asked)
        ran = monotonic() - began
        await asyncio.sleep(0.4)
        demand.tick()
        assert tell(demand).running == pytest.approx(ran / (monotonic() - began), rel=0.3)


async def test_the_last_second_is_told_apart_from_the_window(tmp_path: Path) -> None:
    mock_model(tmp_path, delay_ms=300, slots=1)
    async with running_hub(tmp_path) as hub:
        asked = await ask(hub, 1)
        demand = watch(hub)
        await asyncio.gather(*asked)
        demand.tick()
        for _ in range(2):
            await asyncio.sleep(0.05)
            demand.tick()
        assert [one.running for one in demand.report(SECOND_S).models] == [0.0]
        assert [one.running > 0 for one in demand.report(WINDOW_S).models] == [True]


async def test_two_pools_that_serve_a_model_share_what_waits(tmp_path: Path) -> None:
    python_model(tmp_path, "double", tmp_path / "log")
    async with running_pod(tmp_path, pool="a") as one, running_pod(tmp_path, pool="b") as other:
        addresses = tuple(f"127.0.0.1:{pod.port}" for pod in (one, other))
        async with running_gateway(addresses) as gateway, aiohttp.ClientSession() as client:
            hub = Hub(gateway, [one, other], client)
            await eventually(lambda: sum(backend.up for backend in gateway.fleet.pods.values()) == 2)
            hold(tmp_path, "double")
            asked = await ask(hub, 10, "double")
            demand = Demand(gateway.fleet, gateway.table, gateway.unknown)
            await asyncio.sleep(0.1)
            demand.tick()
            told = {one.pool: (round(one.running), one.queued) for one in demand.report(WINDOW_S).models}
            assert told == {"a": (2, 3.0), "b": (2, 3.0)}
            release(tmp_path, "double")
            await asyncio.gather(*asked)


@pytest.mark.long
async def test_a_pod_of_another_pool_at_the_same_address_counts_for_its_own_pool(tmp_path: Path) -> None:
    mock_model(tmp_path, delay_ms=600, slots=1)
    port = free_port()
    async with running_gateway((f"127.0.0.1:{port}",)) as gateway, aiohttp.ClientSession() as client:
        hub = Hub(gateway, [], client)
        for pool in ("a", "b"):
            async with running_pod(tmp_path, port=port, pool=pool):
                await eventually(lambda: gateway.fleet.ready)
                asked = await ask(hub, 5)
                demand = watch(hub)
                await asyncio.sleep(0.1)
                demand.tick()
                assert {one.pool for one in demand.report(WINDOW_S).models if one.queued} == {pool}
                await asyncio.gather(*asked)
            await eventually(lambda: not gateway.fleet.ready)


async def page(gateway: Gateway) -> Report:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{gateway.ops.port}/demand") as answer,
    ):
        assert answer.status == 200
        return msgspec.json.decode(await answer.read(), type=Report)


async def test_a_model_without_pods_is_held_and_seen_and_answered(tmp_path: Path) -> None:
    mock_model(tmp_path)
    port = free_port()
    on_demand = ("cpu/quick:4",)
    async with (
        running_gateway((f"127.0.0.1:{port}",), hold_s=0.2, on_demand_models=on_demand) as gateway,
        aiohttp.ClientSession() as client,
    ):
        hub = Hub(gateway, [], client)
        assert (await hub.get("/v2/health/ready"))[0] == 200
        status, said, _ = await hub.get("/v2/models/quick/ready")
        asleep = "its pool sleeps and has no pod, a request for the model wakes it"
        expected = f"model 'quick' cannot be reached: {asleep}"
        listed = {"models": [{"name": "quick", "state": "UNAVAILABLE", "reason": asleep, "no_predict": ""}]}
        assert (await hub.get("/v2/models"))[:2] == (200, listed)
        assert (status, said["error"]) == (503, expected)
        described = asyncio.create_task(hub.get("/v2/models/quick"))
        body = {"features": [1.0], "model_name": "quick"}
        asked = [asyncio.create_task(hub.post("/predict", body)) for _ in range(6)]
        await eventually(lambda: gateway.unknown.held == {"quick": 7})
        gateway.demand.tick()
        told = (await page(gateway)).models
        assert [(one.pool, one.model, one.version, one.slots) for one in told] == [("cpu", "quick", "", 4)]
        assert told[0].queued > 0
        assert 'inferencehub_gateway_demand{model="quick",pool="cpu",version=""}' in await hub.metrics()
        await asyncio.sleep(0.5)  # longer than hold_s
        async with running_pod(tmp_path, port=port, pool="cpu"):
            assert {(await task)[0] for task in [*asked, described]} == {200}
            assert gateway.unknown.held == {}


async def test_held_requests_of_a_model_that_batches_share_slots() -> None:
    on_demand = ("cpu/quick:4:8",)
    async with (
        running_gateway(("127.0.0.1:1",), on_demand_models=on_demand) as gateway,
        aiohttp.ClientSession() as client,
    ):
        hub = Hub(gateway, [], client)
        body = {"features": [1.0], "model_name": "quick"}
        asked = [asyncio.create_task(hub.post("/predict", body)) for _ in range(20)]
        await eventually(lambda: gateway.unknown.held == {"quick": 20})
        demand = Demand(gateway.fleet, gateway.table, gateway.unknown)
        demand.tick()
        assert tell(demand).queued == 3.0
        await cancelled(asked)


async def test_no_more_are_held_than_may_wait() -> None:
    async with (
        running_gateway(
            ("127.0.0.1:1",), on_demand_models=("cpu/quick:4",), activation_s=3.0, queue_length=3
        ) as gateway,
        aiohttp.ClientSession() as client,
    ):
        hub = Hub(gateway, [], client)
        body = {"features": [1.0], "model_name": "quick"}
        asked = [asyncio.create_task(hub.post("/predict", body)) for _ in range(3)]
        await eventually(lambda: gateway.unknown.held == {"quick": 3})
        status, said, headers = await hub.post("/predict", body)
        assert (status, headers["Retry-After"]) == (503, "2")
        assert (
            said["error"]
            == "model 'quick' cannot be reached: 3 requests wait already for models that are not there"
        )
        assert not any(task.done() for task in asked), "it is said at once"
        assert {(await task)[0] for task in asked} == {503}


@pytest.mark.long
async def test_names_that_nobody_expects_leave_room_for_those_that_wake_a_pool() -> None:
    async with (
        running_gateway(
            ("127.0.0.1:1",), on_demand_models=("cpu/quick:4",), activation_s=4.0, hold_s=4.0, queue_length=3
        ) as gateway,
        aiohttp.ClientSession() as client,
    ):
        hub = Hub(gateway, [], client)
        names = [f"nobody-{one}" for one in range(3)] + ["quick"]
        asked = []
        for count, name in enumerate(names, start=1):
            body = {"features": [1.0], "model_name": name}
            asked.append(asyncio.create_task(hub.post("/predict", body)))
            await eventually(lambda count=count: sum(gateway.unknown.held.values()) == count)
        assert gateway.unknown.held["quick"] == 1
        await asyncio.gather(*asked)


async def test_a_lane_whose_pods_went_holds_no_more_than_may_wait(tmp_path: Path) -> None:
    mock_model(tmp_path)
    port = free_port()
    async with (
        running_gateway(
            (f"127.0.0.1:{port}",), on_demand_models=("default/quick:4",), queue_length=2
        ) as gateway,
        aiohttp.ClientSession() as client,
    ):
        hub = Hub(gateway, [], client)
        body = {"features": [1.0], "model_name": "quick"}
        async with running_pod(tmp_path, port=port):  # a call that waits for it would be counted below
            await eventually(lambda: ("quick", "") in gateway.table.routes)
            assert (await hub.post("/predict", body))[0] == 200
        await eventually(lambda: not gateway.fleet.ready)
        asked = [asyncio.create_task(hub.post("/predict", body)) for _ in range(4)]
        await eventually(lambda: sum(one.done() for one in asked) == 2)
        gateway.demand.tick()
        told = [(one.pool, one.version) for one in (await page(gateway)).models if one.queued]
        assert told == [("default", "1")]
        for status, said, _ in [one.result() for one in asked if one.done()]:
            assert (status, "2 requests wait for one already" in said["error"]) == (503, True)
        await cancelled(asked)


@pytest.mark.parametrize("path", ["quick/versions/9", "typo"])
async def test_what_a_pod_of_the_pool_does_not_have_is_not_waited_for(tmp_path: Path, path: str) -> None:
    mock_model(tmp_path)
    expected = ("cpu/quick:4", "cpu/typo:4")
    async with running_hub(tmp_path, pod={"pool": "cpu"}, on_demand_models=expected) as hub:
        x = {"name": "features", "datatype": "FP32", "shape": [1], "data": [1.0]}
        began = monotonic()
        status, said, _ = await hub.post(f"/v2/models/{path}/infer", {"inputs": [x]})
        assert (status, monotonic() - began < 15) == (404, True), said
        assert "unknown" in said["error"] or "has no version '9'" in said["error"]


async def test_a_pod_of_another_pool_does_not_speak_for_one_that_sleeps(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(
        tmp_path, pod={"pool": "cpu"}, on_demand_models=("gpu/llm:4",), activation_s=0.5
    ) as hub:
        began = monotonic()
        status, _, headers = await hub.post("/predict", {"features": [1.0], "model_name": "llm"})
        assert (status, headers["Retry-After"]) == (503, "2")
        assert monotonic() - began >= 0.5, "it is held for so long"


async def test_a_model_that_nobody_expects_is_no_demand() -> None:
    async with running_gateway(("127.0.0.1:1",), hold_s=0.3) as gateway, aiohttp.ClientSession() as client:
        hub = Hub(gateway, [], client)
        asked = asyncio.create_task(hub.post("/predict", {"features": [1.0], "model_name": "quick"}))
        await eventually(lambda: gateway.unknown.held == {"quick": 1})
        gateway.demand.tick()
        assert (await page(gateway)).models == []
        assert (await asked)[0] == 503


def test_what_is_expected_is_read() -> None:
    settings = GatewaySettings(on_demand_models=("a/x:4", "b/y:1:32"))
    assert settings.on_demand() == {"x": OnDemand("a", 4, 0), "y": OnDemand("b", 1, 32)}


@pytest.mark.parametrize("entry", ["x", "a/x", "a/x:0", "a/:4", "/x:4", "a/x:4:8:1", "a/x:many", "a/x:4:-1"])
def test_what_is_no_expectation_is_refused(entry: str) -> None:
    with pytest.raises(SettingError, match="pool/model:slots"):
        GatewaySettings(on_demand_models=(entry,))
