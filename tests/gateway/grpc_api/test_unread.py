"""Answers that a caller over gRPC does not read count in the process's budget of bytes until it has read them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from struct import pack

import pytest
import pytest_asyncio

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from tests.hub import Hub, eventually, running_hub, write_model
from tests.written import request_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = 8_000_000
LARGE = f"""
import time
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.go = directory / "go"

    def predict(self, inputs):
        while not self.go.exists():
            time.sleep(0.01)
        return {{"y": np.zeros({SIZE}, np.uint8)}}
"""
CONFIG = """backend: "python"
    instance_group { count: 3 }
    input { name: "x" data_type: TYPE_INT32 dims: [1] }
    output { name: "y" data_type: TYPE_UINT8 dims: [-1] }"""
# Asks three times, and says how long the answers were.
CALLER = """
import sys, grpc
address, request = sys.argv[1:]
channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
grpc.channel_ready_future(channel).result(30)
calls = [infer.future(bytes.fromhex(request)) for _ in range(3)]
print("asked", flush=True)
sys.stdin.readline()
print([len(call.result(60)) for call in calls])
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    write_model(models, "large", CONFIG, {"1/model.py": LARGE})
    async with running_hub(models, hold_s=20.0) as hub:
        hub.go = models / "large" / "1" / "go"  # type: ignore[attr-defined]
        yield hub


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, kernels may take more")
@pytest.mark.parametrize("tier", ["gateway", "pod"])
async def test_answers_count_until_the_caller_has_read_them(hub: Hub, tier: str) -> None:
    port = hub.gateway.grpc.port if tier == "gateway" else hub.pods[0].port
    budget = hub.gateway.bytes_held if tier == "gateway" else hub.pods[0].models.bytes_held
    request = request_to_proto(InferRequest("large", "", (Tensor("x", "INT32", (1,), pack("<i", 1)),)))
    go: Path = hub.go  # type: ignore[attr-defined]
    await asyncio.to_thread(go.unlink, missing_ok=True)
    await eventually(lambda: budget.held == 0)
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, f"127.0.0.1:{port}", request.SerializeToString().hex(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert caller.stdout is not None
        assert await asyncio.wait_for(caller.stdout.readline(), 60) == b"asked\n"
        caller.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(go.touch)
        await eventually(lambda: budget.held >= SIZE)
        caller.send_signal(signal.SIGCONT)
        said, _ = await asyncio.wait_for(caller.communicate(b"\n"), 60)
        assert all(SIZE < int(length) < SIZE + 1000 for length in said.decode().strip("[]\n").split(","))
        await eventually(lambda: budget.held == 0)
    finally:
        if caller.returncode is None:
            caller.kill()
            await caller.wait()
