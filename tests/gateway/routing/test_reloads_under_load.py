"""Models are loaded, loaded again and unloaded for a long time under calls: none fails, and no process grows."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import MODELS, Process, mock_model
from tests.inference.models.control.valued import valued
from tests.long_runs import part_of
from tests.machine import resident

pytestmark = pytest.mark.long

TURNS = part_of(340)  # of three changes each
CLIENTS = 32
NOTICED_S = (
    0.5  # the gateway has noticed a change; until then, it may know of the unload and not yet of the load
)
MIB = 2**20
GROWTH = (
    16 * MIB
)  # of a process, behind its first quarter: far less than the copies and sessions of so many loads
DIGIT = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}]}
ROW = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1], "data": [1]}]}
VALUE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}]}
# What is called, and with what. Both pods have all of it; `changed` goes from one of them at a time.
CALLED = {
    "other": ROW,
    "kept/versions/1": ROW,
    "kept/versions/2": ROW,
    "kept": ROW,
    "changed": DIGIT,
    "own": VALUE,
}


class Clients:
    """They call all of `CALLED`, one after the other without a pause; `failed` has what was no 200."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        paths = [*CALLED]
        self.tasks = [
            asyncio.ensure_future(
                self._call(client, f"{url}/v2/models/", paths[number % len(paths) :] + paths)
            )
            for number in range(CLIENTS)
        ]

    async def _call(self, client: aiohttp.ClientSession, url: str, paths: list[str]) -> None:
        while True:
            for path in paths:
                async with client.post(f"{url}{path}/infer", json=CALLED[path]) as answer:
                    text = await answer.text()
                    self.done[path] += 1
                    if answer.status != 200:
                        self.failed[f"{path}: {answer.status} {text[:200]}"] += 1


class Control:
    """What is told to a pod."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    async def load(self, name: str) -> None:
        """Load a model, or load it again."""
        await self._call("Load", pb.RepositoryModelLoadRequest(model_name=name))

    async def unload(self, name: str) -> None:
        """Unload a model."""
        await self._call("Unload", pb.RepositoryModelUnloadRequest(model_name=name))

    async def _call(self, what: str, request: Any) -> None:
        call: Any = self.channel.unary_unary(
            f"/{messages.SERVICE}/RepositoryModel{what}",
            request_serializer=lambda message: message.SerializeToString(),
        )
        await call(request, timeout=120)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model of ONNX, one of Python, and others."""
    models = tmp_path / "models"
    valued(models, {"1": "1"}, "own")
    shutil.copytree(MODELS / "digits", models / "changed")
    config = models / "changed" / "config.pbtxt"
    config.write_text(config.read_text().replace('"digits"', '"changed"'))
    mock_model(models, "other")
    mock_model(models, "kept", more="version_policy { all { } }")
    (models / "kept" / "2").mkdir()
    return models


async def all_serve(client: aiohttp.ClientSession, url: str, name: str) -> None:
    """Wait until the gateway knows that both pods serve a model."""
    async with asyncio.timeout(60):
        while True:
            async with client.post(f"{url}/v2/repository/index") as answer:
                index = await answer.json()
            if {"2 of 2 pods"} == {entry["reason"] for entry in index if entry["name"] == name}:
                return
            await asyncio.sleep(0.01)


async def test_no_call_fails_and_memory_stays_level(models: Path) -> None:
    quiet = {"HUB_LOG_LEVEL": "error"}
    environ = {"HUB_MODELS": str(models), "HUB_MODEL_CONTROL": "explicit", "HUB_LOAD_MODELS": "*", **quiet}
    random = Random(7)
    async with Process("inference", **environ) as first, Process("inference", **environ) as second:
        pods = (first, second)
        servers = ",".join(pod.address for pod in pods)
        async with (
            Process("gateway", GRPC_SERVER_URL=servers, **quiet) as gateway,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS + 4)) as client,
            grpc.aio.insecure_channel(first.address) as one,
            grpc.aio.insecure_channel(second.address) as two,
        ):
            for name in ("changed", "own", "other", "kept"):
                await all_serve(client, gateway.url, name)
            clients = Clients(client, gateway.url)
            sizes: list[list[int]] = []
            for turn in range(TURNS):
                control = Control((one, two)[turn % 2])
                await control.unload("changed")
                await asyncio.sleep(random.choice((0, 0, 0.3)))  # the gateway notices, or does not
                await control.load("changed")
                await control.load("own" if random.random() < 0.2 else "kept")
                await asyncio.sleep(NOTICED_S)
                await all_serve(client, gateway.url, "changed")
                sizes.append([resident(process.pid) for process in (*pods, gateway)])
            assert not [task for task in clients.tasks if task.done()]
            for task in clients.tasks:
                task.cancel()
            assert not clients.failed
            assert min(clients.done[path] for path in CALLED) > TURNS
            for before, after in zip(sizes[TURNS // 4], sizes[-1], strict=True):
                assert after - before < GROWTH, [
                    [size // MIB for size in each] for each in sizes[:: TURNS // 10]
                ]
