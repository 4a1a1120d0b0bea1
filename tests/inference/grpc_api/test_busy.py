"""Health answers while every model of a pod is as busy as callers can make it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import MODELS, Process, write_model
from tests.inference.pod_processes import features
from tests.machine import slowed
from tests.written import request_to_proto

BURNER = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [-1] }
output { name: "y" data_type: TYPE_FP32 dims: [-1] }
instance_group { count: 2 }"""
BURN = """import time
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        end = time.monotonic() + 30
        while time.monotonic() < end: pass
        return {"y": inputs["x"]}
"""
CHECKS = 100


def tensor_request(model: str, tensor: Tensor) -> Any:
    return request_to_proto(InferRequest(model, "", (tensor,)))


@pytest.mark.timing
async def test_health_answers_while_every_model_works(tmp_path: Path) -> None:
    for name in ("sentiment", "digits", "v1-mock"):
        shutil.copytree(MODELS / name, tmp_path / name)
    write_model(tmp_path, "burner", BURNER, {"1/model.py": BURN})
    text = b"not very good, but SOOOO lovely! ".ljust(40) * 1638  # as much as it takes
    requests = {
        "sentiment": (
            tensor_request("sentiment", Tensor("text", "BYTES", (64, 1), pack_bytes([text] * 64))),
            3,
        ),
        "digits": (tensor_request("digits", Tensor("input", "FP32", (64, 64), bytes(64 * 64 * 4))), 1),
        "v1-mock": (features("v1-mock", 1, 2), 20),
        "burner": (tensor_request("burner", Tensor("x", "FP32", (1,), bytes(4))), 2),
    }
    async with (
        Process("inference", HUB_MODELS=str(tmp_path)) as pod,
        grpc.aio.insecure_channel(pod.address) as channel,
    ):
        infer: Any = channel.unary_unary(
            f"/{messages.SERVICE}/ModelInfer",
            request_serializer=None,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        answered = dict.fromkeys(requests, 0)

        async def keep_busy(name: str, request: bytes) -> None:
            while True:
                await infer(request, timeout=20)
                answered[name] += 1

        busy = [
            asyncio.create_task(keep_busy(name, request.SerializeToString()))
            for name, (request, callers) in requests.items()
            for _ in range(callers)
        ]
        health: Any = health_pb2_grpc.HealthStub(channel)
        took = []
        try:
            await asyncio.sleep(0.5)
            began = monotonic()
            for number in range(CHECKS):
                service = ("probe/live", "probe/ready", "sentiment", "")[number % 4]
                started = perf_counter()
                reply = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
                took.append(perf_counter() - started)
                assert reply.status == health_pb2.HealthCheckResponse.SERVING
                await asyncio.sleep(0.03)
            assert monotonic() - began > 3
            assert not [task.exception() for task in busy if task.done()], "a model did not take its work"
            assert answered["digits"] > 20
            assert answered["v1-mock"] > 20
        finally:
            for task in busy:
                task.cancel()
            await asyncio.wait(busy)
    took.sort()
    p99, longest = took[CHECKS * 99 // 100 - 1], took[-1]
    print(
        f"health checks: p50 {took[50] * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, max {longest * 1e3:.1f} ms; {answered}"
    )
    # On a quiet machine all 100 are under 50 ms. Where others compute too the last ones are later, but with a switch
    # interval of 5 ms instead of 0.5 ms the p99 was 340 ms on a quiet one.
    assert took[90] <= slowed(0.1)
    assert p99 <= slowed(0.2)
