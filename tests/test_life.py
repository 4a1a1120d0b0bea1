"""Both tiers as processes, from start to end: refusals to start, probes, drains, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.gateway.pod_processes import gateway_to, pods_of
from tests.gateway.python_model import double, python_model, release, runs
from tests.hub import MODELS, ROOT, Process, eventually, mock_model
from tests.load import Load

NOISE = ("Traceback", "never retrieved", "was destroyed", "never awaited", "fork_posix", "Exception ignored")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with a quick model."""
    mock_model(tmp_path / "models", "quick", delay_ms=20, slots=4)
    return tmp_path / "models"


async def refusal(tier: str, **environ: str) -> str:
    """What a tier that does not start says; it ends with code 2."""
    ports = {"PORT": "0", "HUB_OPS_PORT": "0", "HUB_MODELS": str(MODELS)}
    if tier == "gateway":
        ports = {"PORT": "0", "HUB_OPS_PORT": "0", "HUB_GRPC_PORT": "0", "GRPC_SERVER_URL": "127.0.0.1:9"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"inferencehub.{tier}",
        env={**os.environ, "PYTHONPATH": str(ROOT / "services"), **ports, **environ}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    text = said.decode()
    assert process.returncode == 2, text
    assert "Traceback" not in text
    return text.strip().split("\n")[-1]


@pytest.mark.parametrize("tier", ["gateway", "inference"])
async def test_what_its_operator_must_mend_is_one_sentence(tier: str, tmp_path: Path) -> None:
    own = {"GRPC_SERVER_URL": "nowhere"} if tier == "gateway" else {"HUB_MODELS": str(tmp_path / "none")}
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        unknown, *clashes, wrong = await asyncio.gather(
            refusal(tier, HUB_QUEUE_LENGHT="5"),
            refusal(tier, PORT=port),
            refusal(tier, HUB_OPS_PORT=port),
            refusal(tier, **own),
        )
    assert "HUB_QUEUE_LENGHT is no setting" in unknown
    for said in clashes:
        assert said.startswith("inferencehub: ")
        assert port in said
    assert ("expected host:port" if tier == "gateway" else str(tmp_path / "none")) in wrong


class Probes:
    """What a pod answers to the health checks that its probes make."""

    def __init__(self, channel: Any) -> None:
        self._health: Any = health_pb2_grpc.HealthStub(channel)

    async def __call__(self, wait: bool = False) -> list[bool]:
        """Started, ready, live; `wait` until it listens."""
        names = ("probe/started", "probe/ready", "probe/live")
        asked = [health_pb2.HealthCheckRequest(service=name) for name in names]
        answers = [await self._health.Check(one, wait_for_ready=wait, timeout=60) for one in asked]
        return [answer.status == health_pb2.HealthCheckResponse.SERVING for answer in answers]

    async def started(self) -> list[bool]:
        """The probes once the pod has read its repository; its models are still being loaded."""
        call = self._health.Watch(health_pb2.HealthCheckRequest(service="probe/started"), wait_for_ready=True)
        async for reply in call:
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                break
        call.cancel()
        return await self()

    async def watch(self) -> Any:
        """A standing Watch, its first status read."""
        call = self._health.Watch(health_pb2.HealthCheckRequest(service=""))
        await call.read()
        return call


async def test_probes_tell_loading_ready_and_draining_apart(models: Path, tmp_path: Path, capfd: Any) -> None:
    python_model(models, "heavy", tmp_path / "runs", held=True)
    pod = Process("inference", HUB_MODELS=str(models), HUB_DRAIN_WAIT_S="2.5")
    async with grpc.aio.insecure_channel(pod.address) as channel:
        probes = Probes(channel)
        starting = asyncio.create_task(pod.start())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{pod.ops_port}") as ops:

            async def readyz() -> int:
                async with ops.get("/readyz") as answer:
                    return answer.status

            try:
                assert await probes.started() == [True, False, True]
                assert await readyz() == 503
                release(models, "heavy")
                await starting
                assert await probes() == [True, True, True]
                assert await readyz() == 200
                watch = await probes.watch()
                began = monotonic()
                pod.send(signal.SIGTERM)
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
                assert await probes() == [True, False, True]
                assert await readyz() == 503
                assert await pod.ended() == 0
                assert 2.5 <= monotonic() - began < 15.0, "a standing Watch does not hold it up"
            finally:
                await pod.__aexit__()
    said = capfd.readouterr().err
    assert not [noise for noise in NOISE if noise in said], said


async def test_a_pod_can_be_ended_while_it_loads(models: Path, tmp_path: Path, capfd: Any) -> None:
    python_model(models, "heavy", tmp_path / "runs", held=True)
    pod = Process("inference", HUB_MODELS=str(models), HUB_DRAIN_WAIT_S="0")
    starting = asyncio.create_task(pod.start())
    try:
        async with grpc.aio.insecure_channel(pod.address) as channel:
            assert await Probes(channel).started() == [True, False, True]
        await asyncio.sleep(0.5)
        began = monotonic()
        pod.send(signal.SIGTERM)
        assert await pod.ended() == 0
        print(f"ended {monotonic() - began:.2f} s after SIGTERM")
        assert monotonic() - began < 15.0
    finally:
        starting.cancel()
        await asyncio.wait([starting])
        await pod.__aexit__()
    said = capfd.readouterr().err
    assert not [noise for noise in NOISE if noise in said], said


@pytest.mark.long
async def test_a_gateway_drains_finishes_and_then_refuses(models: Path, tmp_path: Path, capfd: Any) -> None:
    log = tmp_path / "runs"
    python_model(models, "slow", log, seconds=5.0)
    async with (
        pods_of(models) as (pod,),
        Process("gateway", GRPC_SERVER_URL=pod.address, HUB_DRAIN_WAIT_S="2.5") as gateway,
        aiohttp.ClientSession(gateway.url) as client,
        aiohttp.ClientSession(f"http://127.0.0.1:{gateway.ops_port}") as ops,
    ):
        async with Load(gateway.url, workers=8) as load:
            await eventually(lambda: load.good > 20)
            x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}
            slow = asyncio.create_task(client.post("/v2/models/slow/infer", json={"inputs": [x]}))
            await eventually(lambda: runs(log))
            began = monotonic()
            gateway.send(signal.SIGTERM)
            status = 200
            while status == 200:
                async with ops.get("/readyz") as answer:
                    status = answer.status
            async with client.get("/readyz") as answer:
                assert answer.status == 503
                assert answer.headers["connection"] == "close"
            good = load.good
            await eventually(lambda: bool(load.failed))
            assert load.first_failure - began >= 2.5, "new connections are served until the wait is over"
            assert load.good > good
            assert not slow.done()
            answer = await slow
            assert (answer.status, (await answer.json())["outputs"][0]["data"]) == (200, [3.0])
        broken_off = [failure for failure in load.failed if "Connect call failed" not in failure]
        assert not broken_off, "refused, never broken off"
        assert await gateway.ended() == 0
        assert monotonic() - began < 20.0
    said = capfd.readouterr().err
    assert not [noise for noise in NOISE if noise in said], said


async def draining(process: Process) -> None:
    """Wait until a tier says that it ends: a signal that comes before the first one is seen would be the same one."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(20):
        status = 0
        while status != 503:
            async with client.get(f"http://127.0.0.1:{process.ops_port}/readyz") as answer:
                status = answer.status


@pytest.mark.parametrize("tier", ["gateway", "inference"])
@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]], ids=["ctrl-c", "twice"]
)
async def test_an_impatient_end(tier: str, signals: list[signal.Signals], models: Path) -> None:
    environ = {"HUB_MODELS": str(models)} if tier == "inference" else {"GRPC_SERVER_URL": "127.0.0.1:9"}
    async with Process(tier, HUB_DRAIN_WAIT_S="60", **environ) as process:
        began = monotonic()
        process.send(signals[0])
        if len(signals) == 2:
            await draining(process)
            process.send(signals[1])
        assert await process.ended() == 0
        print(f"ended after {monotonic() - began:.2f} s")
        assert monotonic() - began < 20.0


async def test_a_second_ctrl_c_does_not_wait_for_what_runs(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "runs"
    python_model(models, "slow", log, seconds=60)
    async with pods_of(models, HUB_DRAIN_WAIT_S="0") as (pod,), gateway_to(pod) as hub:
        slow = asyncio.create_task(double(hub, "slow", 1.0))
        await eventually(lambda: runs(log))
        pod.send(signal.SIGINT)
        await draining(pod)
        began = monotonic()
        pod.send(signal.SIGINT)
        assert await pod.ended() == 130
        assert monotonic() - began < 20.0
        assert (await slow)[0] == 503
