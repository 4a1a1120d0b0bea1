"""How a gateway follows the health of a pod's models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from inferencehub.core.grpc_server.health import SERVICE
from inferencehub.core.process.tasks import cancelled
from inferencehub.gateway.pods.health import Health
from tests.hub import eventually


async def test_a_model_is_followed_again_after_an_answer_that_cannot_be_read() -> None:
    answers = [b"\xff", health_pb2.HealthCheckResponse(status="NOT_SERVING").SerializeToString()]

    async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield answers.pop(0)
        await asyncio.Event().wait()

    handlers: Any = {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    said: list[tuple[str, bool]] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        work = Health(channel).watch_models(lambda: ["m"], lambda *one: said.append(one), ended=lambda: None)
        following = asyncio.create_task(work)
        try:
            await eventually(lambda: said == [("m", False)])
        finally:
            await cancelled([following])
            await server.stop(None)
