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

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from tests.hub import Hub, eventually, running_hub, write_model
from tests.written import request_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = 8_000_000
LARGE = f"""
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {{"y": np.zeros({SIZE}, np.uint8)}}
"""
CONFIG = """backend: "python"
    input { name: "x" data_type: TYPE_INT32 dims: [1] }
    output { name: "y" data_type: TYPE_UINT8 dims: [-1] }"""
# Asks three times, and stops before an answer can have come; says how long the answers were once it goes on.
CALLER = """
import os, signal, sys, grpc
address, method, request, kind = sys.argv[1:]
data = bytes.fromhex(request)
channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
grpc.channel_ready_future(channel).result(30)
if kind == "unary":
    calls = [channel.unary_unary(method).future(data) for _ in range(3)]
    print("asked", flush=True)
    sys.stdin.readline()
    print([len(call.result(60)) for call in calls])
else:
    answers = channel.stream_stream(method)(iter([data] * 3))
    print("asked", flush=True)
    sys.stdin.readline()
    print([len(answer) for answer in answers])
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    write_model(models, "large", CONFIG, {"1/model.py": LARGE})
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


@pytest.mark.skipif(sys.platform != "linux", reason="a stopped process reads nothing, but its kernel does")
@pytest.mark.parametrize("tier", ["gateway", "pod"])
@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_answers_count_until_the_caller_has_read_them(hub: Hub, tier: str, kind: str) -> None:
    port = hub.gateway.grpc.port if tier == "gateway" else hub.pods[0].port
    budget = hub.gateway.bytes_held if tier == "gateway" else hub.pods[0].models.bytes_held
    method = messages.STREAM_METHOD if kind == "stream" else "/inference.GRPCInferenceService/ModelInfer"
    request = request_to_proto(InferRequest("large", "", (Tensor("x", "INT32", (1,), pack("<i", 1)),)))
    await eventually(lambda: budget.held == 0)
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, f"127.0.0.1:{port}", method, request.SerializeToString().hex(), kind,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert caller.stdout is not None
        assert await asyncio.wait_for(caller.stdout.readline(), 60) == b"asked\n"
        caller.send_signal(signal.SIGSTOP)
        # Some megabytes may be in the kernel's buffers, or were read before the caller stopped.
        await eventually(lambda: budget.held >= SIZE)
        caller.send_signal(signal.SIGCONT)
        said, _ = await asyncio.wait_for(caller.communicate(b"\n"), 60)
        assert all(SIZE < int(length) < SIZE + 1000 for length in said.decode().strip("[]\n").split(","))
        await eventually(lambda: budget.held == 0)
    finally:
        if caller.returncode is None:
            caller.kill()
            await caller.wait()
