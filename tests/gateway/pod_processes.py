"""Pods as processes, and a gateway in this process that knows them by their addresses or by a name in DNS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.hub import Hub, Process, eventually


class Name:
    """A name in DNS, as far as a gateway sees it: the addresses that a lookup finds now."""

    def __init__(self, *pods: Process) -> None:
        self.addresses = {pod.address for pod in pods}

    async def resolve(self, target: str) -> set[str]:
        """What the system's resolver would do."""
        if not self.addresses:
            raise OSError("no address associated with hostname")
        return set(self.addresses)


@asynccontextmanager
async def gateway_to(*pods: Process, name: Name | None = None, **settings: object) -> AsyncIterator[Hub]:
    """A gateway that knows `pods` by a name, or by their addresses; it is up when all of them are."""
    backends = ("pods:1",) if name else tuple(pod.address for pod in pods)
    chosen = {
        "port": 0,
        "grpc_port": 0,
        "ops_port": 0,
        "drain_wait_s": 0,
        "drain_timeout_s": 1,
        "hold_s": 1.0,
        **settings,
    }
    gateway = Gateway(GatewaySettings(backends=backends, **chosen))  # type: ignore[arg-type]
    if name:
        gateway.fleet.discovery.resolve = name.resolve
    await gateway.start()
    try:
        await eventually(lambda: sum(backend.up for backend in gateway.fleet.pods.values()) == len(pods))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as client:
            yield Hub(gateway, [], client)
    finally:
        await gateway.stop()


@asynccontextmanager
async def pods_of(*repositories: Path, **environ: str) -> AsyncIterator[list[Process]]:
    """One pod for each repository, all of them ready."""
    async with AsyncExitStack() as stack:
        running = [Process("inference", HUB_MODELS=str(models), **environ) for models in repositories]
        for pod in running:
            stack.push_async_exit(pod)
        await asyncio.gather(*[pod.start() for pod in running])
        yield running
