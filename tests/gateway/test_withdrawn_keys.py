"""Streams of answers end soon after the key of their caller was withdrawn, and those of others go on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.keyed_hub import ENTRIES, bearer, entry, hub_with_keys
from tests.hub import Hub, eventually
from tests.several_answers import count_to, counting_model


async def events(hub: Hub, name: str, came: Counter[str]) -> str:
    """Count what comes on a stream of events; how it ended."""
    body = {"count": 1000, "pause_s": 0.1}
    url = f"{hub.url}/v2/models/counter/generate_stream"
    last = b""
    async with hub.client.post(url, json=body, headers=bearer(name)) as answer:
        async for line in answer.content:
            came[name] += b"text_output" in line
            last = line if line.startswith(b"data") else last
    return str(json.loads(last.removeprefix(b"data: ")).get("error", ""))


async def answers(hub: Hub, name: str, came: Counter[str]) -> str:
    """The same on a stream of gRPC with one request."""
    async with opened(hub, name) as stream:
        await stream.write(count_to(1000, "7", pause_s=0.1))
        try:
            while (await stream.read()) is not grpc.aio.EOF:
                came[name] += 1
        except grpc.aio.AioRpcError:
            pass
        return f"{(await stream.code()).name} {await stream.details()}"


async def nothing(hub: Hub, name: str, came: Counter[str]) -> str:
    """The same on a stream of gRPC without a request."""
    async with opened(hub, name) as stream:
        await stream.wait_for_connection()
        came[name] += 1
        return f"{(await stream.code()).name} {await stream.details()}"


def write(directory: Path, *entries: Any) -> None:
    """Change the file of keys."""
    (directory / "keys.json").write_text(json.dumps({"keys": entries}))


@asynccontextmanager
async def opened(hub: Hub, name: str) -> AsyncIterator[Any]:
    """A stream of gRPC."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        open_stream: Any = channel.stream_stream(
            messages.STREAM_METHOD, None, pb.ModelStreamInferResponse.FromString
        )
        yield open_stream(metadata=tuple(bearer(name).items()))


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (events, "the key is unknown"),
        (answers, "UNAUTHENTICATED the key is unknown"),
        (nothing, "UNAUTHENTICATED the key is unknown"),
    ],
)
async def test_a_stream_ends_when_its_key_is_withdrawn(
    tmp_path: Path, read: Callable[[Hub, str, Counter[str]], Awaitable[str]], expected: str
) -> None:
    counting_model(tmp_path / "models", instances=2)
    async with hub_with_keys(tmp_path) as hub:
        write(tmp_path, *ENTRIES, entry("later"))
        await eventually(lambda: hub.gateway.keys is not None and hub.gateway.keys.reloads == 1)
        came: Counter[str] = Counter()
        withdrawn, other = (asyncio.ensure_future(read(hub, name, came)) for name in ("all", "later"))
        await eventually(lambda: came.keys() == {"all", "later"})
        write(tmp_path, entry("later"))
        await eventually(withdrawn.done)  # the answers would come for 100 s
        assert await withdrawn == expected
        assert not other.done()
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
