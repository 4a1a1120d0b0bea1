"""Ensembles in pools that scale, and in jobs: what they ask of the pods of their steps, and of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.routing.ensembles.models import ensemble, step, tensors
from tests.hub import Hub, eventually, mock_model, running_hub

pytestmark = pytest.mark.long
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]}


def late(repository: Path, delay_ms: int) -> None:
    """An ensemble whose only step takes its time, two at once."""
    mock_model(repository, "slow", delay_ms=delay_ms, slots=2)
    outputs = tensors("output", ["y"], "INT32", "1")
    one = step("slow", {"features": "x"}, {"class_id": "y"})
    ensemble(repository, "late", one, outputs=outputs, most_rows=0)


async def running_jobs(hub: Hub) -> list[Any]:
    _, said, _ = await hub.get("/v2/jobs?state=running&limit=100")
    return list(said["jobs"])


async def test_calls_of_an_ensemble_keep_its_own_pool_awake(tmp_path: Path) -> None:
    late(tmp_path, 3000)
    async with running_hub(tmp_path) as hub:
        call = asyncio.create_task(hub.post("/v2/models/late/infer", BODY))
        demand = hub.gateway.demand

        def running() -> dict[str, float]:
            return {one.model: one.running for one in demand.report(1.0).models}

        await eventually(lambda: running().get("late", 0) > 0 and running().get("slow", 0) > 0)
        pods = {one.model: one.pods for one in demand.report(1.0).models}
        assert 0 < pods["late"] < 0.01, "it takes next to nothing of its pod"
        assert (await call)[0] == 200


async def test_no_more_jobs_are_taken_than_the_steps_have_room_for(tmp_path: Path) -> None:
    late(tmp_path / "models", 200)
    async with running_hub(tmp_path / "models", jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        headers = {"prefer": "respond-async"}
        paths = []
        for _ in range(30):
            status, job, _ = await hub.post("/v2/models/late/infer", BODY, headers=headers)
            assert status == 202
            paths.append(f"/v2/jobs/{job['id']}/result?wait=30")
        assert 0 < len(await running_jobs(hub)) <= 6
        answers = await asyncio.gather(*[hub.get(path) for path in paths])
        assert {status for status, _, _ in answers} == {200}
