"""The end of a pod whose model still runs, or still loads, in a thread that cannot be stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor, pack_bytes
from tests.hub import Process, write_model
from tests.machine import slowed
from tests.written import request_to_proto

TEXT = (b"not good. " * 6554)[:65536]
AT_ONCE = {"HUB_DRAIN_WAIT_S": "0", "HUB_DRAIN_TIMEOUT_S": "0.2"}


async def ended_after(pod: Process) -> float:
    """Seconds from SIGTERM to the process's end."""
    pod.send(signal.SIGTERM)
    began = monotonic()
    assert await asyncio.wait_for(pod.ended(), 30) == 0
    return monotonic() - began


@pytest.mark.timing
async def test_a_thread_that_works_does_not_hold_the_process() -> None:
    rows = Tensor("text", "BYTES", (64, 1), pack_bytes([TEXT] * 64))
    request = request_to_proto(InferRequest("sentiment", "", (rows,))).SerializeToString()
    async with Process("inference", **AT_ONCE) as pod, grpc.aio.insecure_channel(pod.address) as channel:
        infer: Any = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        calls = [asyncio.ensure_future(infer(request, timeout=30)) for _ in range(2)]
        await asyncio.sleep(0.3)
        assert not [call for call in calls if call.done()]
        assert await ended_after(pod) < slowed(1.5)
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError):
                await call


@pytest.mark.skipif(
    version("onnxruntime").startswith("1.20."),
    reason="onnxruntime 1.20 holds the interpreter's lock while it opens a file, so nothing answers meanwhile",
)
async def test_a_thread_that_loads_does_not_hold_the_process(tmp_path: Path) -> None:
    write_model(tmp_path, "stuck", 'backend: "onnxruntime"')
    os.mkfifo(
        tmp_path / "stuck" / "1" / "model.onnx"
    )  # as a disk that does not answer: opening it never ends
    pod = Process("inference", HUB_MODELS=str(tmp_path), **AT_ONCE)
    start = asyncio.create_task(pod.start())
    try:
        async with grpc.aio.insecure_channel(pod.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for service, status in (("probe/live", "SERVING"), ("probe/ready", "NOT_SERVING")):
                question = health_pb2.HealthCheckRequest(service=service)
                reply = await health.Check(question, wait_for_ready=True, timeout=60)
                assert reply.status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
            await asyncio.sleep(0.3)  # onnxruntime is imported, and the load under way
            assert not start.done()
            assert await ended_after(pod) < 15
    finally:
        start.cancel()
        await pod.__aexit__()
