"""Pods that load what they are told, gateways that tell them, and calls of the model m."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.gateway.pod_processes import gateway_to
from tests.hub import Hub
from tests.inference.pod_processes import Pod, calling_pod

VALUE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}]}
UNLOADED = "it was unloaded"


@asynccontextmanager
async def pods_to_load(models: Path, count: int = 2, **settings: Any) -> AsyncIterator[list[Pod]]:
    """Pods that do what calls say."""
    chosen = {"model_control": "explicit", **settings}
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(calling_pod(models, **chosen)) for _ in range(count)]


@asynccontextmanager
async def loading_gateway(store: Path, *pods: Pod, **settings: Any) -> AsyncIterator[Hub]:
    """A gateway that takes loads, with its own store in a file."""
    more = {"jobs": f"sqlite:{store / 'jobs.db'}", "model_loads": True, **settings}
    async with gateway_to(*pods, **more) as hub:  # type: ignore[arg-type]
        yield hub


async def change(hub: Hub, what: str, name: str = "m", **parameters: object) -> tuple[int, str]:
    """POST …/load or …/unload; the status, and the sentence if it is an error."""
    body = {"parameters": parameters} if parameters else None
    status, said, _ = await hub.post(f"/v2/repository/models/{name}/{what}", body)
    return status, said.get("error", "")


async def value(hub: Hub) -> float | int:
    """What m answers, or the status of its refusal."""
    status, said, _ = await hub.post("/v2/models/m/infer", VALUE)
    return said["outputs"][0]["data"][0] if status == 200 else status
