"""The channel to a pod: what its end means for the calls that run."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.gateway.pods.channel import Channel
from inferencehub.gateway.pods.link import Lost
from inferencehub.pb import open_inference_pb2 as pb


async def test_a_question_is_lost_with_its_channel_and_does_not_cancel_who_asked() -> None:
    asked = asyncio.Event()

    async def silent(request: bytes, context: Any) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    handlers: Any = {"RepositoryIndex": grpc.unary_unary_rpc_method_handler(silent)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(messages.SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Channel(f"127.0.0.1:{port}", 2**20) as channel:
            asking = asyncio.create_task(
                channel.ask("RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
            )
            await asked.wait()
        with pytest.raises(Lost, match="the channel was closed"):
            await asking
    finally:
        await server.stop(None)
