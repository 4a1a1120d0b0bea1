"""A tenant with many callers beside a modest one: who waits for whom, and who makes room in a full queue."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import aiohttp
import pytest

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.process.tasks import cancelled
from tests.hub import Hub, eventually, mock_model, running_hub

SLOTS, DELAY_MS = 16, 100
KEYS = {name: new_key(name) for name in ("greedy", "greedy-2", "modest", "heavy")}
RIGHTS: dict[str, dict[str, Any]] = {
    "greedy": {"tenant": "big"}, "greedy-2": {"tenant": "big"}, "modest": {}, "heavy": {"weight": 3}
}  # fmt: skip
CALL = {"features": [1.0, 2.0], "model_name": "quick"}


@asynccontextmanager
async def shared_hub(tmp_path: Path, slots: int = SLOTS, **settings: Any) -> AsyncIterator[Hub]:
    mock_model(tmp_path / "models", "quick", delay_ms=DELAY_MS, slots=slots)
    entries = [
        {"id": name, "sha256": sha256(key.encode()).hexdigest(), **RIGHTS[name]} for name, key in KEYS.items()
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    async with running_hub(
        tmp_path / "models", api_keys=str(tmp_path / "keys.json"), access_log=False, **settings
    ) as hub:
        yield hub


class Callers:
    """Callers with a key, each of which asks again as soon as it is answered."""

    def __init__(self, hub: Hub, client: aiohttp.ClientSession, name: str) -> None:
        self.url = f"{hub.url}/predict"
        self.client = client
        self.headers = {"authorization": f"Bearer {KEYS[name]}"}
        self.statuses: Counter[int] = Counter()

    async def ask(self, **headers: str) -> int:
        async with self.client.post(self.url, json=CALL, headers={**self.headers, **headers}) as answer:
            await answer.read()
            self.statuses[answer.status] += 1
            return answer.status

    async def go_on(self) -> None:
        while True:
            await self.ask()

    async def latency(self, calls: int) -> float:
        """The median time of calls one after another, in seconds."""
        took = []
        for _ in range(calls):
            began = perf_counter()
            assert await self.ask() == 200
            took.append(perf_counter() - began)
        return median(took)


@asynccontextmanager
async def busy(hub: Hub, waiting: int, **callers: int) -> AsyncIterator[dict[str, Callers]]:
    """So many callers of each key, once so many requests wait."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        found = {name: Callers(hub, client, name) for name in callers}
        tasks = [
            asyncio.create_task(found[name].go_on()) for name, count in callers.items() for _ in range(count)
        ]
        try:
            (lane,) = hub.gateway.table.known("quick")
            await eventually(lambda: len(lane.lane.queue) >= waiting)
            yield found
        finally:
            await cancelled(tasks)


@pytest.mark.timing
async def test_a_thousand_callers_of_a_tenant_cost_another_one_a_fifth_at_most(tmp_path: Path) -> None:
    async with shared_hub(tmp_path) as hub, aiohttp.ClientSession() as client:
        modest = Callers(hub, client, "modest")
        await modest.latency(3)
        alone = await modest.latency(15)
        async with busy(hub, 900, greedy=500, **{"greedy-2": 500}):
            beside = await modest.latency(25)
        assert beside <= 1.2 * alone


async def test_a_short_deadline_is_kept_beside_a_long_queue(tmp_path: Path) -> None:
    """The greedy tenant's calls wait 7 s; a call of another one, which would not, is not refused for that."""
    async with shared_hub(tmp_path, slots=4) as hub, aiohttp.ClientSession() as client:
        modest = Callers(hub, client, "modest")
        async with busy(hub, 270, greedy=280) as callers:
            await eventually(lambda: callers["greedy"].statuses[200] > 20)
            for _ in range(5):
                assert await modest.ask(**{"x-request-timeout-ms": "4000"}) == 200
            assert await callers["greedy"].ask(**{"x-request-timeout-ms": "4000"}) == 429


async def test_a_tenant_cannot_fill_a_queue_for_others(tmp_path: Path) -> None:
    async with shared_hub(tmp_path, slots=2, queue_length=10) as hub, aiohttp.ClientSession() as client:
        modest = Callers(hub, client, "modest")
        async with busy(hub, 9, greedy=16) as callers:
            for _ in range(5):
                assert await modest.ask() == 200
            assert callers["greedy"].statuses[429] > 0
        assert hub.gateway.bytes_held.held == 0


@pytest.mark.long
async def test_a_queue_for_a_pod_that_is_not_there_is_shared_too(tmp_path: Path) -> None:
    async with shared_hub(tmp_path, queue_length=5, hold_s=3.0) as hub:
        async with aiohttp.ClientSession() as client:
            greedy, modest = (Callers(hub, client, name) for name in ("greedy", "modest"))
            assert await greedy.ask() == 200
            await hub.pods[0].stop()
            await eventually(lambda: not hub.gateway.fleet.ready)
            asked = [asyncio.create_task(greedy.ask()) for _ in range(5)]
            (lane,) = hub.gateway.table.known("quick")
            await eventually(lambda: len(lane.lane.queue) == 5)
            late = asyncio.create_task(modest.ask())
            await asyncio.gather(*asked, late)
        assert greedy.statuses[429] == 1, "it gave one up"
        assert greedy.statuses[503] == 4
        assert modest.statuses == {503: 1}


@pytest.mark.timing
async def test_answers_are_shared_by_weight(tmp_path: Path) -> None:
    async with shared_hub(tmp_path, slots=4) as hub, busy(hub, 60, greedy=40, heavy=40) as callers:
        before = {name: one.statuses[200] for name, one in callers.items()}
        await eventually(lambda: callers["heavy"].statuses[200] > before["heavy"] + 90)
        greedy, heavy = (callers[name].statuses[200] - before[name] for name in ("greedy", "heavy"))
        assert heavy / greedy == pytest.approx(3, rel=0.25)
