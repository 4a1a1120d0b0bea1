"""A pod in the test's process, as its callers and its operator see it: calls, statuses and access lines."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import pack
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.oip import messages
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import MODELS, eventually
from tests.written import request_to_proto

Request = pb.ModelInferRequest
Health = health_pb2.HealthCheckResponse


def infer_of(channel: grpc.aio.Channel) -> Any:
    """ModelInfer at the other end of a channel."""
    return channel.unary_unary(
        f"/{messages.SERVICE}/ModelInfer",
        request_serializer=Request.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )


def predict_of(channel: grpc.aio.Channel) -> Any:
    """The small Predict at the other end of a channel."""
    return channel.unary_unary(
        "/inference.ModelInference/Predict",
        request_serializer=predict_pb.PredictRequest.SerializeToString,
        response_deserializer=predict_pb.PredictResponse.FromString,
    )


class Pod:
    """A running pod and a channel to it."""

    def __init__(self, server: InferenceServer, channel: grpc.aio.Channel, lines: io.BytesIO) -> None:
        self.server = server
        self.channel = channel
        self.address = f"127.0.0.1:{server.port}"
        self._lines = lines
        self._health: Any = health_pb2_grpc.HealthStub(channel)
        self._infer = infer_of(channel)

    def infer(self, request: Request, **options: Any) -> Any:
        """A call of ModelInfer, to be awaited or cancelled."""
        return self._infer(request, **options)

    async def refusal(self, request: Request, **options: Any) -> tuple[str, str]:
        """Status code and sentence of a call that must fail."""
        try:
            await self.infer(request, **options)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        raise AssertionError("the call was answered")

    async def health(self, service: str = "") -> bool:
        """What the health service says of a name."""
        reply = await self._health.Check(health_pb2.HealthCheckRequest(service=service))
        return bool(reply.status == Health.SERVING)

    async def line(self) -> dict[str, Any]:
        """The one access line since the last time; the pod writes it when its own side of a call has ended."""
        found: list[dict[str, Any]] = []

        def came() -> bool:
            found.extend(self.written())
            return bool(found)

        await eventually(came)
        (line,) = found
        return line

    def written(self) -> list[dict[str, Any]]:
        """The access lines since the last time."""
        assert self.server.access is not None
        self.server.access.flush()
        assert self.server.access.writer.wait(20)
        lines = self._lines.getvalue().splitlines()
        self._lines.seek(0)
        self._lines.truncate()
        return [json.loads(line) for line in lines]


@asynccontextmanager
async def calling_pod(models: Path = MODELS, waits: bool = True, **settings: Any) -> AsyncIterator[Pod]:
    """A pod whose models have been loaded, or are being loaded if it is not to wait for them."""
    chosen = {"port": 0, "ops_port": 0, "models": str(models), "drain_wait_s": 0.0, "drain_timeout_s": 1.0}
    lines = io.BytesIO()
    server = InferenceServer(
        InferenceSettings(**{**chosen, **settings}), AccessLog("inference", "json", lines)
    )
    await server.start()
    try:
        if waits:
            await server.loaded()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Pod(server, channel, lines)
    finally:
        await server.stop()


def features(model: str, *values: float, id: str = "", **parameters: str | int) -> Request:
    """A request of a mock model, with parameters."""
    tensor = Tensor("features", "FP32", (len(values),), pack(f"<{len(values)}f", *values))
    message = request_to_proto(InferRequest(model, "", (tensor,)))
    message.id = id
    for name, value in parameters.items():
        messages.set_parameter(message.parameters[name], value)
    return message
