"""A model `m` in several versions, and a hub whose traffic a file splits among them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from inferencehub.gateway.routing.traffic.traffic import Traffic
from tests.hub import Hub, mock_model, running_hub

TWO_NUMBERS = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}
INFER = "/v2/models/m/infer"


def versions_of_mock(repository: Path, *versions: str, name: str = "m") -> None:
    """A mock model in these versions, and in version 1."""
    mock_model(repository, name, more="version_policy { all { } }")
    for version in versions:
        (repository / name / version).mkdir(exist_ok=True)


def write(file: Path, models: Mapping[str, Any]) -> None:
    """Write the file of traffic, in one step, as a mounted ConfigMap changes."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"models": models}))
    new.replace(file)


def changed(hub: Hub, file: Path, entry: Mapping[str, Any]) -> None:
    """Write another entry for model `m`, and let the gateway look at once."""
    write(file, {"m": entry})
    traffic_of(hub).look()


def traffic_of(hub: Hub) -> Traffic:
    """What the gateway has read."""
    traffic = hub.gateway.table.traffic
    assert traffic is not None
    return traffic


@asynccontextmanager
async def split_hub(tmp_path: Path, entry: Mapping[str, Any], **settings: Any) -> AsyncIterator[Hub]:
    """Both tiers with model `m` in versions 1 and 2, or what else stands in the folder `models`, and this entry for it."""
    if not (tmp_path / "models").exists():
        versions_of_mock(tmp_path / "models", "2")
    write(tmp_path / "traffic.json", {"m": entry})
    async with running_hub(
        tmp_path / "models", traffic=str(tmp_path / "traffic.json"), **settings
    ) as running:
        yield running


async def answered_by(hub: Hub, calls: int, path: str = INFER, **options: Any) -> Counter[str]:
    """How often each version answers."""

    async def one() -> str:
        status, body, headers = await hub.post(path, TWO_NUMBERS, **options)
        assert status == 200, body
        assert body["model_version"] == headers["x-model-version"]
        return headers["x-model-version"]

    return Counter(await asyncio.gather(*[one() for _ in range(calls)]))


async def metric(hub: Hub, line: str) -> float:
    """The value of a line of the gateway's metrics, which begins like that; 0 if there is none."""
    lines = (await hub.metrics()).splitlines()
    return next((float(found.rpartition(" ")[2]) for found in lines if found.startswith(line)), 0.0)
