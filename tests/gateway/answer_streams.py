"""A stream of answers on each front, read one answer after the other, of a model of `tests/several_answers.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import grpc

from inferencehub.core.oip import messages
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub
from tests.several_answers import count_to, text_of

FRONTS = ("events", "gateway", "pod")
LONG_US = 300_000_000  # the longest time limit that a request may have, in microseconds

# Reads the next answer's text; "" at the end. An error raises `EndedWithAnError`.
Read = Callable[[], Awaitable[str]]


class EndedWithAnError(Exception):
    """The sentence with which a stream's request ended."""


@asynccontextmanager
async def events(port: int, model: str, count: int, **parameters: Any) -> AsyncIterator[Read]:
    """A stream of events of the gateway."""
    url = f"http://127.0.0.1:{port}/v2/models/{model}/generate_stream"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, json={"count": count, **parameters}) as answer,
    ):
        assert answer.status == 200, await answer.text()

        async def read() -> str:
            event = await answer.content.readuntil(b"\n\n", max_size=2**30)
            if not event:
                return ""
            got = json.loads(event.removeprefix(b"data: "))
            if "error" in got:
                raise EndedWithAnError(got["error"])
            text: str = got["text_output"]
            return text

        yield read


@asynccontextmanager
async def messages_of(port: int, model: str, count: int, **parameters: Any) -> AsyncIterator[Read]:
    """A ModelStreamInfer of the gateway or a pod, with one request."""
    any_size = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", any_size) as channel:
        ask: Any = channel.stream_stream(messages.STREAM_METHOD, None, pb.ModelStreamInferResponse.FromString)
        call = ask()
        await call.write(count_to(count, "an-id", model, **parameters))
        await call.done_writing()

        async def read() -> str:
            reply = await call.read()
            if reply is grpc.aio.EOF:
                return ""
            assert reply.infer_response.id == "an-id"
            if reply.error_message:
                raise EndedWithAnError(reply.error_message)
            return text_of(reply.infer_response)

        yield read
        call.cancel()


def stream(
    front: str, ports: dict[str, int], model: str, count: int, **parameters: Any
) -> AbstractAsyncContextManager[Read]:
    """The answers to one request on a front; `ports` are those of all fronts."""
    open = events if front == "events" else messages_of
    return open(ports[front], model, count, timeout=LONG_US, **parameters)


def ports_of(hub: Hub) -> dict[str, int]:
    """The ports of the fronts; 0 for the pod's if it is no part of the hub."""
    pod = hub.pods[0].port if hub.pods else 0
    return dict(zip(FRONTS, (hub.gateway.port, hub.gateway.grpc.port, pod), strict=True))
