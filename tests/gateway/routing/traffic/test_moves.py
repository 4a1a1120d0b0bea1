"""Calls that wait for a version that goes: where they go then, when they stay, and that their wait is no version's fault."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.inference.server import InferenceServer
from tests.gateway.routing.traffic.versions import INFER, TWO_NUMBERS, traffic_of, write
from tests.hub import Hub, eventually, mock_model, running_gateway, running_pod

WAITS = {"weights": {"1": 1e-6, "2": 1e6}}  # all calls are for version 2, while it is served
Asked = list[asyncio.Task[tuple[int, str]]]


@asynccontextmanager
async def waiting(
    tmp_path: Path, entry: dict[str, Any], **settings: Any
) -> AsyncIterator[tuple[Hub, InferenceServer, Asked]]:
    """A hub, the only pod of version 2, which is slow, and twenty calls: most of them wait for it. Another pod has version 1."""
    for version, delay_ms in (("1", 0), ("2", 200)):
        if not (tmp_path / version).exists():
            mock_model(tmp_path / version, "m", delay_ms=delay_ms, slots=1)
            (tmp_path / version / "m" / "1").rename(tmp_path / version / "m" / version)
    file = tmp_path / "traffic.json"
    write(file, {"m": entry})
    async with running_pod(tmp_path / "1") as old, running_pod(tmp_path / "2", drain_timeout_s=10.0) as new:
        backends = (f"127.0.0.1:{old.port}", f"127.0.0.1:{new.port}")
        async with (
            running_gateway(backends, traffic=str(file), hold_s=0.5, **settings) as gateway,
            aiohttp.ClientSession() as client,
        ):
            await eventually(lambda: gateway.table.versions("m") == ["1", "2"])
            hub = Hub(gateway, [], client)
            calls = [asyncio.create_task(answered(hub)) for _ in range(20)]
            lane: ModelLane = gateway.table.known("m", "2")[0]
            await eventually(lambda: len(lane.lane.queue) >= 18)
            yield hub, new, calls
            assert lane.lane.idle
            assert gateway.bytes_held.held == 0


async def answered(hub: Hub) -> tuple[int, str]:
    """The status of a call, and the version that answered it."""
    status, _, headers = await hub.post(INFER, TWO_NUMBERS)
    return status, headers.get("x-model-version", "")


async def test_where_the_entry_has_gone_they_go_to_the_default_version(tmp_path: Path) -> None:
    async with waiting(tmp_path, WAITS) as (hub, new, calls):
        write(tmp_path / "traffic.json", {})
        traffic_of(hub).look()
        await new.stop()
        found = Counter([await call for call in calls])
    assert found[200, "1"] > 10
    assert found[200, "1"] + found[200, "2"] == 20, found


async def test_those_that_do_not_fit_the_other_version_wait_for_their_own(tmp_path: Path) -> None:
    mock_model(tmp_path / "1", "m", slots=1)
    config = tmp_path / "1" / "m" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [-1]", "dims: [3]"))
    async with waiting(tmp_path, WAITS) as (_, new, calls):
        await new.stop()
        found = Counter([await call for call in calls])
    assert found[503, "2"] > 10
    assert found[503, "2"] + found[200, "2"] == 20, found


async def test_their_wait_does_not_roll_back_the_version_that_takes_them(tmp_path: Path) -> None:
    rule = {"version": "1", "p99_ms": 100, "calls": 10}
    async with waiting(tmp_path, {**WAITS, "rollback": rule}) as (hub, new, calls):
        await asyncio.sleep(0.2)
        await new.stop()
        found = Counter([await call for call in calls])
        assert found[200, "1"] > 10, found
        async with running_pod(tmp_path / "2", port=new.port):
            await eventually(lambda: hub.gateway.table.is_open("m", "2"))
            assert (await hub.post("/v2/models/m/versions/1/infer", TWO_NUMBERS))[0] == 200
            page = traffic_of(hub).page("m")
    assert [one["rolled_back"] for one in page["versions"]] == ["", ""]  # type: ignore[attr-defined]


async def test_those_that_the_other_version_refuses_are_failures_of_that_version(tmp_path: Path) -> None:
    mock_model(tmp_path / "1", "m", delay_ms=500, slots=1)
    async with waiting(tmp_path, WAITS, queue_length=20) as (hub, new, calls):
        named = [
            asyncio.create_task(hub.post("/v2/models/m/versions/1/infer", TWO_NUMBERS)) for _ in range(22)
        ]
        lane: ModelLane = hub.gateway.table.known("m", "1")[0]
        await eventually(lambda: lane.lane.queue.full)
        await new.stop()
        refused = [(await call)[0] for call in calls].count(429)
        assert refused > 10
        for call in named:
            call.cancel()
        _, stats, _ = await hub.get("/v2/models/m/versions/1/stats")
        (found,) = stats["model_stats"]
        assert found["inference_stats"]["fail"]["count"] == refused
        await eventually(lambda: lane.lane.idle)
