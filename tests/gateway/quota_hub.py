"""Gateways whose callers have quotas of a day, and callers who use them up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.oip import messages
from inferencehub.gateway.calls.limits.leases import Leases
from tests.hub import Hub, mock_model, running_hub, write_model
from tests.inference.pod_processes import features

NAMES = ("calls", "rows", "both", "free")
KEYS = {name: new_key(name) for name in NAMES}
QUICK = {"features": [1.0], "model_name": "quick"}
BATCHES = """backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }"""
ECHO = """class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""


def keys_with(directory: Path, **quotas: dict[str, Any]) -> str:
    """A file of keys with these fields; its path."""
    entries = [
        {"id": name, "sha256": sha256(key.encode()).hexdigest(), **quotas.get(name, {})}
        for name, key in KEYS.items()
    ]
    file = directory / "keys.json"
    file.write_text(json.dumps({"keys": entries}))
    return str(file)


def models(directory: Path) -> Path:
    """A repository with a quick model, and one that takes batches."""
    mock_model(directory / "models", "quick")
    write_model(directory / "models", "batches", BATCHES, {"1/model.py": ECHO})
    return directory / "models"


@asynccontextmanager
async def hub_with_quotas(
    directory: Path, jobs: str, quotas: dict[str, dict[str, Any]], **settings: Any
) -> AsyncIterator[Hub]:
    """A hub whose keys have quotas."""
    file = keys_with(directory, **quotas)
    async with running_hub(models(directory), jobs=jobs, api_keys=file, **settings) as hub:
        yield hub


def rows_of(count: int) -> dict[str, Any]:
    """A call with so many rows."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [count, 1], "data": [1.0] * count}]}


def bearer(name: str) -> dict[str, str]:
    """The headers of a key."""
    return {"authorization": f"Bearer {KEYS[name]}"}


def leases_of(hub: Hub) -> Leases:
    """What a gateway in this process has leased."""
    assert hub.gateway.jobs is not None
    return hub.gateway.jobs.leases


async def until_refused(
    client: aiohttp.ClientSession, port: int, name: str, most: int = 10**6
) -> Counter[int]:
    """Call a gateway over HTTP until a call is refused; how many had which status."""
    found: Counter[int] = Counter()
    while not found.total() - found[200] and found.total() < most:
        async with client.post(
            f"http://127.0.0.1:{port}/predict", json=QUICK, headers=bearer(name)
        ) as answer:
            await answer.read()
            found[answer.status] += 1
    return found


async def until_refused_over_grpc(port: int, name: str) -> Counter[int]:
    """The same over gRPC, with the statuses of HTTP."""
    found: Counter[int] = Counter()
    message = features("quick", 1.0).SerializeToString()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer: Any = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        while True:
            try:
                await infer(message, metadata=tuple(bearer(name).items()))
            except grpc.aio.AioRpcError as error:
                found[429 if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else 0] += 1
                return found
            found[200] += 1


async def comes(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that has to be asked for."""
    async with asyncio.timeout(30):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def standing(hub: Hub, name: str) -> list[dict[str, Any]]:
    """How the quotas of a key stand, as it sees them."""
    status, found, _ = await hub.get("/v2/usage", headers=bearer(name))
    assert status == 200
    return list(found["quotas"])


async def used(hub: Hub, name: str) -> dict[str, Any]:
    """What is used of the quotas of a key, by unit."""
    return {one["unit"]: one["used"] for one in await standing(hub, name)}
