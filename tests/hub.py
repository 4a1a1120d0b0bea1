"""A hub to test through its front door: real gRPC and real HTTP on free ports.

`running_hub` runs both tiers in this process, for tests that need no crash. `Process` runs a tier as a child process,
for tests that kill, freeze or drain it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO, Any, Self

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"


@dataclass
class Hub:
    """Both tiers, and an HTTP client that speaks to the gateway."""

    gateway: Gateway
    pods: list[InferenceServer]
    client: aiohttp.ClientSession
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.gateway.port}"

    async def post(
        self, path: str, body: object = None, **options: Any
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, decoded JSON and headers of a POST; `body` is JSON unless it is bytes."""
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.client.post(self.url + path, **data, **options) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def get(self, path: str, **options: Any) -> tuple[int, Any, Mapping[str, str]]:
        """Status, decoded JSON and headers of a GET."""
        async with self.client.get(self.url + path, **options) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def metrics(self) -> str:
        """The gateway's metrics."""
        async with self.client.get(f"http://127.0.0.1:{self.gateway.ops.port}/metrics") as answer:
            return await answer.text()


def write_model(
    repository: Path, name: str, config: str, files: Mapping[str, str | bytes] | None = None
) -> None:
    """A model in a repository: its config.pbtxt, and files by path within its directory; version 1 if there are none."""
    directory = repository / name
    (directory / "1").mkdir(parents=True, exist_ok=True)
    (directory / "config.pbtxt").write_text(config)
    for path, content in (files or {}).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content.encode() if isinstance(content, str) else content)


def mock_model(
    repository: Path, name: str = "quick", delay_ms: int = 0, slots: int = 4, more: str = ""
) -> None:
    """A model of the mock runtime."""
    write_model(
        repository,
        name,
        f"""backend: "mock"
        input {{ name: "features" data_type: TYPE_FP32 dims: [-1] }}
        output {{ name: "class_id" data_type: TYPE_INT32 dims: [1] }}
        output {{ name: "confidence" data_type: TYPE_FP32 dims: [1] }}
        instance_group {{ count: {slots} }}
        parameters {{ key: "delay_ms" value {{ string_value: "{delay_ms}" }} }}
        parameters {{ key: "predict_class" value {{ string_value: "class_id" }} }}
        parameters {{ key: "predict_confidence" value {{ string_value: "confidence" }} }}
        {more}""",
    )


@asynccontextmanager
async def running_pod(models: Path = MODELS, **settings: Any) -> AsyncIterator[InferenceServer]:
    """An inference service in this process, its models loaded."""
    chosen = {
        "port": 0,
        "ops_port": 0,
        "models": str(models),
        "drain_wait_s": 0.0,
        "drain_timeout_s": 1.0,
        **settings,
    }
    pod = InferenceServer(InferenceSettings(**chosen))
    await pod.start()
    try:
        await pod.loaded()
        yield pod
    finally:
        await pod.stop()


@asynccontextmanager
async def running_gateway(backends: tuple[str, ...], **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway in this process."""
    chosen = {
        "port": 0,
        "grpc_port": 0,
        "ops_port": 0,
        "drain_wait_s": 0.0,
        "drain_timeout_s": 1.0,
        "hold_s": 1.0,
        **settings,
    }
    gateway = Gateway(GatewaySettings(backends=backends, **chosen))
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@asynccontextmanager
async def running_hub(
    models: Path = MODELS, pods: int = 1, pod: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Hub]:
    """Both tiers in this process, all pods known to the gateway.

    Args:
        models: the repository that the pods serve.
        pods: how many.
        pod: settings of each pod.
        settings: settings of the gateway.
    """
    async with pods_of(models, pods, pod or {}) as running:
        addresses = tuple(f"127.0.0.1:{one.port}" for one in running)
        # A process of a model that starts again on a busy machine must not cost a request.
        chosen = {"hold_s": 10.0, **settings}
        async with running_gateway(addresses, **chosen) as gateway, aiohttp.ClientSession() as client:
            await eventually(lambda: sum(backend.up for backend in gateway.fleet.pods.values()) == pods)
            yield Hub(gateway, running, client)


@asynccontextmanager
async def pods_of(
    models: Path, count: int, settings: Mapping[str, Any]
) -> AsyncIterator[list[InferenceServer]]:
    """Several pods in this process."""
    if count == 0:
        yield []
        return
    async with running_pod(models, **settings) as pod, pods_of(models, count - 1, settings) as others:
        yield [pod, *others]


async def eventually(condition: Any, within_s: float = 30.0) -> float:
    """Wait until a condition holds; the seconds that it took. Fails after `within_s`."""
    started = monotonic()
    while not condition():
        assert monotonic() - started < within_s, f"not within {within_s} s: {condition}"
        await asyncio.sleep(0.01)
    return monotonic() - started


START_S = 90.0  # six processes that start together on a busy core take half a minute


class Process:
    """A tier as a child process: `async with Process("inference", ...) as pod`."""

    def __init__(self, tier: str, **environ: str) -> None:
        self.tier = tier
        self.port = int(environ.get("PORT", 0)) or free_port()
        self.ops_port = free_port()
        self.grpc_port = free_port()
        self.environ = {
            "PORT": str(self.port),
            "HUB_OPS_PORT": str(self.ops_port),
            "HUB_DRAIN_WAIT_S": "0.5",
            **({"HUB_GRPC_PORT": str(self.grpc_port)} if tier == "gateway" else {}),
            **environ,
        }
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.log: IO[bytes] | None = None  # where its standard error goes; None for that of the tests
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "services"), **self.environ}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"inferencehub.{self.tier}",
            env=environ,
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=self.log,
        )
        await (self._serving() if self.tier == "inference" else self._answering())

    async def _serving(self) -> None:
        port = self.environ.get("HUB_HEALTH_PORT", str(self.port))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = health_pb2_grpc.HealthStub(channel).Watch(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(service=""), wait_for_ready=True, timeout=START_S
            )
            async for reply in call:
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    call.cancel()
                    return
        raise AssertionError("the pod did not become ready")

    async def _answering(self) -> None:
        async with aiohttp.ClientSession() as client, asyncio.timeout(START_S):
            while True:
                try:
                    async with client.get(f"http://127.0.0.1:{self.ops_port}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.02)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            await self._process.wait()
