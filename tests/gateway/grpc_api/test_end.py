"""The end of a gateway as callers over gRPC see it: health, calls that go elsewhere, and connections that are moved."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from inferencehub.core.oip import messages
from tests.gateway.grpc_api.calling import Caller, Health, calling
from tests.hub import eventually, mock_model, running_gateway, running_hub
from tests.inference.pod_processes import features, infer_of

NAMES = ("", messages.SERVICE, "inference.ModelInference")


async def health(caller: Caller, name: str) -> Any:
    """What the health service says of a name."""
    return (await caller.health.Check(health_pb2.HealthCheckRequest(service=name))).status


async def test_health_is_that_of_the_ready_page_and_a_watch_sees_the_drain(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with calling(tmp_path, drain_wait_s=60.0) as caller:
        for name in NAMES:
            watch = caller.health.Watch(health_pb2.HealthCheckRequest(service=name))
            while (await watch.read()).status != Health.SERVING:
                pass
            watch.cancel()
            assert await health(caller, name) == Health.SERVING
        watch = caller.health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == Health.SERVING
        draining = asyncio.create_task(caller.gateway.drain())
        assert (await watch.read()).status == Health.NOT_SERVING
        assert [await health(caller, name) for name in NAMES] == [Health.NOT_SERVING] * 3
        answer = await caller.infer(features("quick", 1))  # a draining gateway still answers
        assert answer.model_name == "quick"
        draining.cancel()
        watch.cancel()


@pytest.mark.long
async def test_no_call_is_lost_when_a_gateway_ends_under_load(tmp_path: Path) -> None:
    """gRPC's own stop cancels what it has received and not begun: about 25 of these 32 calls."""
    mock_model(tmp_path, delay_ms=2, slots=8)
    seen: Counter[str] = Counter()
    done = asyncio.Event()

    async def keep_asking(infer: Any) -> None:
        while not done.is_set():
            try:
                answer = await infer(features("quick", 1, 2))
                seen[answer.model_name] += 1
            except grpc.aio.AioRpcError as error:
                seen[f"{error.code().name} {error.details()}"] += 1

    async with running_hub(tmp_path) as hub:
        pods = (f"127.0.0.1:{hub.pods[0].port}",)
        async with (
            running_gateway(pods, drain_timeout_s=30.0) as first,
            running_gateway(pods) as second,
            grpc.aio.insecure_channel(
                f"ipv4:127.0.0.1:{first.grpc.port},127.0.0.1:{second.grpc.port}"
            ) as channel,
        ):
            await eventually(lambda: first.fleet.serves and second.fleet.serves)
            infer = infer_of(channel)
            asking = [asyncio.create_task(keep_asking(infer)) for _ in range(32)]
            await eventually(lambda: seen["quick"] > 200)
            await first.drain()
            await first.stop()
            before = seen["quick"]
            await eventually(lambda: seen["quick"] > before + 200)
            done.set()
            await asyncio.gather(*asking)
    assert list(seen) == ["quick"]


async def test_a_connection_is_moved_after_its_age_and_no_call_is_lost(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with calling(tmp_path, grpc_max_connection_age_s=0.2) as caller:
        peers: set[str] = set()
        async with asyncio.timeout(30):
            while len(peers) < 3:  # each new connection has a port of its own
                call = caller.infer(features("quick", 1))
                answer = await call
                assert answer.model_name == "quick"
                peers |= connections(caller.gateway.grpc.port)


def connections(port: int) -> set[str]:
    """The ports of this process's connections to a port, as the kernel lists them."""
    lines = [
        line.split()
        for file in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{file}").read_text().splitlines()[1:]
    ]
    return {line[1] for line in lines if line[2].endswith(f":{port:04X}") and line[3] == "01"}
