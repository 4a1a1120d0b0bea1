"""Two gateways load and unload models on their pods under calls: none fails of other models, other versions and reloads."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.hub import Process, mock_model
from tests.inference.models.control.valued import until, valued
from tests.long_runs import part_of
from tests.valkey import Valkey

pytestmark = pytest.mark.long

TURNS = part_of(60)  # of three changes each
CLIENTS = 16  # of each gateway
ROW = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1], "data": [1]}]}
VALUE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}]}
# What is called, and with what. Nothing of it is ever unloaded; `kept` and `own` are loaded again and again.
CALLED = {"other": ROW, "kept/versions/1": ROW, "kept/versions/2": ROW, "kept": ROW, "own": VALUE}
ALL = {"other": 1, "kept": 2, "own": 1}  # versions that every pod serves


async def call(client: aiohttp.ClientSession, url: str, first: int, ended: Counter[str]) -> None:
    """Call all of it in turn, without a pause; `ended` counts the ends of calls by what and how."""
    paths = [*CALLED][first:] + [*CALLED][:first]
    while True:
        for path in paths:
            async with client.post(f"{url}/v2/models/{path}/infer", json=CALLED[path]) as answer:
                text = await answer.text()
                ended[path if answer.status == 200 else f"{path}: {answer.status} {text[:200]}"] += 1


async def change(client: aiohttp.ClientSession, gateway: Process, name: str, what: str) -> None:
    """A load or an unload, which must succeed."""
    async with client.post(f"{gateway.url}/v2/repository/models/{name}/{what}") as answer:
        assert answer.status == 200, await answer.text()


async def served(client: aiohttp.ClientSession, gateway: Process, pods: int, names: dict[str, int]) -> bool:
    """Whether so many pods serve each of these models with so many versions, as a gateway sees it."""
    async with client.post(f"{gateway.url}/v2/repository/index") as answer:
        index = [entry for entry in await answer.json() if entry["state"] == "READY"]
    reason = f"{pods} of {pods} pods" if pods > 1 else ""
    found = Counter(entry["name"] for entry in index if entry["reason"] == reason)
    return {name: found[name] for name in names} == names


async def test_no_call_fails_while_pods_come_and_models_change(tmp_path: Path, valkey: Valkey) -> None:
    models = tmp_path / "models"
    valued(models, {"1": "1"}, "own")
    mock_model(models, "changed")
    mock_model(models, "other")
    mock_model(models, "kept", more="version_policy { all { } }")
    (models / "kept" / "2").mkdir()
    quiet = {"HUB_LOG_LEVEL": "error"}
    environ = {"HUB_MODELS": str(models), "HUB_MODEL_CONTROL": "explicit", **quiet}
    pods = [Process("inference", **environ) for _ in range(3)]
    told = {
        "GRPC_SERVER_URL": ",".join(pod.address for pod in pods),
        "HUB_JOBS": valkey.url,
        "HUB_MODEL_LOADS": "true",
        **quiet,
    }
    first, second, third = pods
    async with (
        first,
        second,
        Process("gateway", **told) as one,
        Process("gateway", **told) as two,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        gateways = (one, two)
        await until(lambda: served(client, one, 1, {}))
        for name in ALL:
            await change(client, one, name, "load")
        for gateway in gateways:
            await until(lambda gateway=gateway: served(client, gateway, 2, ALL))
        ended: Counter[str] = Counter()
        tasks = [
            asyncio.ensure_future(call(client, gateway.url, number % len(CALLED), ended))
            for number in range(CLIENTS)
            for gateway in gateways
        ]
        for turn in range(TURNS):
            gateway = gateways[turn % 2]
            await change(client, gateway, "changed", "load")
            await change(client, gateway, ("kept", "own")[turn % 4 // 2], "load")
            await change(client, gateways[turn % 3 % 2], "changed", "unload")
            if turn == TURNS // 3:  # one more pod, which nobody tells by hand
                await third.start()
                for each in gateways:
                    await until(lambda each=each: served(client, each, 3, ALL))
            if turn == 2 * TURNS // 3:  # a pod ends, and starts anew
                first.send(signal.SIGTERM)
                await first.ended()
                await first.start()
                for each in gateways:
                    await until(lambda each=each: served(client, each, 3, ALL))
        try:
            assert not [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await third.__aexit__(None, None, None)
        failed = {how: count for how, count in ended.items() if how not in CALLED}
        assert not failed
        assert min(ended[path] for path in CALLED) > TURNS
