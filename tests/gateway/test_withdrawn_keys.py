"""Streams of answers end soon after the key of their caller was withdrawn, and those of others go on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET, socket
from time import process_time
from typing import Any

import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.gateway.http_api.routes import endpoints
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.keyed_hub import ENTRIES, bearer, entry, hub_with_keys
from tests.hub import Hub, eventually
from tests.inference.pod_processes import features
from tests.several_answers import count_to, counting_model, word

KEEP_ALIVE_S = 0.5
pytestmark = pytest.mark.long


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


def begun(repository: Path) -> bool:
    """Whether the model has begun to answer."""
    return (repository / "counter.log").stat().st_size > 0


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
        await eventually(
            lambda: hub.gateway.callers.keys is not None and hub.gateway.callers.keys.reloads == 1
        )
        came: Counter[str] = Counter()
        withdrawn, other = (asyncio.ensure_future(read(hub, name, came)) for name in ("all", "later"))
        await eventually(lambda: came.keys() == {"all", "later"})
        write(tmp_path, entry("later"))
        await eventually(withdrawn.done)  # the answers would come for 100 s
        assert await withdrawn == expected
        assert not other.done()
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


@pytest.mark.parametrize("read", [events, answers])
async def test_an_answer_ends_when_its_key_may_use_the_model_no_longer(
    tmp_path: Path, read: Callable[[Hub, str, Counter[str]], Awaitable[str]]
) -> None:
    counting_model(tmp_path / "models")
    async with hub_with_keys(tmp_path) as hub:
        came: Counter[str] = Counter()
        refused = asyncio.ensure_future(read(hub, "all", came))
        await eventually(lambda: came["all"] > 0)
        write(tmp_path, entry("all", models=["quick"]))
        await eventually(lambda: word(tmp_path / "models") == "closed")
        if read is events:
            assert await refused == "key 'all' may not use model 'counter'"
        refused.cancel()  # the stream of gRPC is for other models too
        await asyncio.gather(refused, return_exceptions=True)


async def test_a_stream_with_a_request_that_is_refused_goes_on(tmp_path: Path) -> None:
    counting_model(tmp_path / "models")
    async with hub_with_keys(tmp_path) as hub, opened(hub, "all") as stream:
        await stream.write(count_to(1000, "7", pause_s=0.1))
        await stream.read()
        write(tmp_path, entry("all", models=["quick"]))
        while not (answer := await stream.read()).error_message:
            pass
        assert answer.error_message == "key 'all' may not use model 'counter'"
        await stream.write(features("quick", 1.0, id="8").SerializeToString())
        assert (await stream.read()).infer_response.id == "8"


async def test_a_call_that_waits_does_not_begin_for_a_withdrawn_key(tmp_path: Path) -> None:
    counting_model(tmp_path / "models")
    async with hub_with_keys(tmp_path) as hub:
        write(tmp_path, *ENTRIES, entry("later"))
        await eventually(
            lambda: hub.gateway.callers.keys is not None and hub.gateway.callers.keys.reloads == 1
        )
        url = f"{hub.url}/v2/models/counter/generate_stream"
        body = {"count": 40, "pause_s": 0.1}

        async def asked(name: str) -> int:
            async with hub.client.post(url, json=body, headers=bearer(name)) as answer:
                await answer.read()
                return answer.status

        first = asyncio.ensure_future(asked("later"))
        await eventually(lambda: begun(tmp_path / "models"))
        second = asyncio.ensure_future(asked("all"))
        write(tmp_path, entry("later"))
        assert [await first, await second] == [200, 401]


@pytest.mark.timing
async def test_a_caller_that_reads_nothing_costs_nothing(tmp_path: Path) -> None:
    """When it has read nothing for so long, no comment is due, and nothing waits for one."""
    counting_model(tmp_path / "models")
    async with hub_with_keys(tmp_path) as hub:
        hub.gateway.edge.find = endpoints(hub.gateway.calls, KEEP_ALIVE_S)
        body = json.dumps({"count": 100_000, "width": 30_000})
        head = (
            f"POST /v2/models/counter/generate_stream HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n"
        )
        key = f"authorization: {bearer('all')['authorization']}\r\n\r\n"
        with socket() as caller:
            caller.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
            await asyncio.to_thread(caller.connect, ("127.0.0.1", hub.gateway.port))
            caller.sendall((head + key + body).encode())
            await eventually(lambda: begun(tmp_path / "models"))
            await asyncio.sleep(KEEP_ALIVE_S + 1)
            used = process_time()
            await asyncio.sleep(2)
            assert process_time() - used < 0.5
