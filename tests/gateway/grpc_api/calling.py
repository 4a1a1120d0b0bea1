"""A gateway's gRPC port as its callers and its operator see it: calls, statuses, trailers and access lines."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.oip import messages
from inferencehub.core.process.logs import AccessLog
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.hub import eventually, running_pod
from tests.inference.pod_processes import infer_of, predict_of

Health = health_pb2.HealthCheckResponse


class Caller:
    """A gateway and a channel to it."""

    def __init__(self, gateway: Gateway, channel: grpc.aio.Channel, lines: io.BytesIO) -> None:
        self.gateway = gateway
        self.channel = channel
        self.address = f"127.0.0.1:{gateway.grpc.port}"
        self._lines = lines
        self.health: Any = health_pb2_grpc.HealthStub(channel)
        self.infer = infer_of(channel)
        self.predict = predict_of(channel)

    def method(self, name: str, answer: Any, service: str = messages.SERVICE) -> Any:
        """A unary method that takes serialized bytes."""
        return self.channel.unary_unary(f"/{service}/{name}", None, answer.FromString)

    async def refusal(self, call: Any) -> tuple[str, str, dict[str, str]]:
        """Status code, sentence and trailers of a call that must fail."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or "", dict(error.trailing_metadata())
        raise AssertionError("the call was answered")

    async def line(self) -> dict[str, Any]:
        """The one access line since the last time; the gateway writes it when its own side of a call has ended."""
        found: list[dict[str, Any]] = []

        def came() -> bool:
            found.extend(self.written())
            return bool(found)

        await eventually(came)
        (line,) = found
        return line

    def written(self) -> list[dict[str, Any]]:
        """The access lines since the last time."""
        assert self.gateway.access is not None
        self.gateway.access.flush()
        assert self.gateway.access.writer.wait(20)
        lines = self._lines.getvalue().splitlines()
        self._lines.seek(0)
        self._lines.truncate()
        return [json.loads(line) for line in lines]


@asynccontextmanager
async def calling(
    models: Path, pod: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Caller]:
    """A pod, and a gateway that knows it."""
    async with (
        running_pod(models, **(pod or {})) as one,
        calling_gateway((f"127.0.0.1:{one.port}",), **settings) as caller,
    ):
        await eventually(lambda: caller.gateway.fleet.serves)
        yield caller


@asynccontextmanager
async def calling_gateway(backends: tuple[str, ...], **settings: Any) -> AsyncIterator[Caller]:
    """A gateway that may know no pod."""
    chosen = {
        "port": 0,
        "grpc_port": 0,
        "ops_port": 0,
        "drain_wait_s": 0.0,
        "drain_timeout_s": 1.0,
        "hold_s": 10.0,
    }
    lines = io.BytesIO()
    gateway = Gateway(
        GatewaySettings(backends=backends, **{**chosen, **settings}), AccessLog("gateway", "json", lines)
    )
    await gateway.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc.port}") as channel:
            yield Caller(gateway, channel, lines)
    finally:
        await gateway.stop()
