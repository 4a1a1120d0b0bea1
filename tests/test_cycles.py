"""No reference cycle keeps a buffer, a connection or a request: with the collector off, all goes when a peer goes.

Both tiers run on uvloop here, as their processes do.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import uvloop
from hpack import Encoder

from inferencehub.core.http2.frames import (
    DATA,
    HEADERS,
    NUMBER,
    PREFACE,
    PREFIX,
    RST_STREAM,
    STREAM,
    frame,
    settings,
)
from inferencehub.core.oip import extension, messages
from inferencehub.gateway.pods.link import PodState
from inferencehub.inference.runtimes.support.threads import Threads
from tests.cycles import unfreed, without_collector
from tests.hub import Process, eventually, mock_model, running_gateway, running_hub, running_pod, write_model
from tests.inference.pod_processes import calling_pod, features

pytestmark = pytest.mark.long

BEGIN = (
    PREFACE
    + settings()
    + frame(
        HEADERS,
        4,
        STREAM,
        Encoder().encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", messages.STREAM_METHOD),
                (":authority", "a"),
                (extension.STREAM, "10000000"),
            ]
        ),
    )
)


def call(model: str, id: str) -> bytes:
    """A call on a stream."""
    data = features(model, 1.0, id=id, hub_members='[[1, 60000000, "a"]]').SerializeToString()
    return frame(DATA, 0, STREAM, PREFIX.pack(0, len(data)) + data)


RAISES = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        raise RuntimeError("no")
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A quick model, one that takes a minute, and one that fails."""
    mock_model(tmp_path, "quick")
    mock_model(tmp_path, "slow", delay_ms=60_000)
    config = """backend: "python"
        input { name: "features" data_type: TYPE_FP32 dims: [-1] }
        output { name: "class_id" data_type: TYPE_INT32 dims: [1] }
        parameters { key: "predict_class" value { string_value: "class_id" } }"""
    write_model(tmp_path, "raises", config, {"1/model.py": RAISES})
    return tmp_path


ENDS = {
    "half a message": frame(DATA, 0, STREAM, PREFIX.pack(0, 5_000_000) + bytes(4_000_000)),
    "half a frame": frame(DATA, 0, STREAM, PREFIX.pack(0, 5_000_000) + bytes(4_000_000))[:100_000],
    "half a small message": frame(DATA, 0, STREAM, PREFIX.pack(0, 100) + bytes(10)),
    "calls that run": call("slow", "1") + call("slow", "2") + call("quick", "3"),
    "a call that waits": b"".join(call("slow", str(n)) for n in range(10)),
    "a model that fails": call("raises", "1"),
    "errors": call("none", "1") + call("quick", "2") + frame(DATA, 0, STREAM, PREFIX.pack(0, 1) + b"\xff"),
    "a reset": call("slow", "1") + frame(RST_STREAM, 0, STREAM, NUMBER.pack(8)),
    "something else than frames": call("slow", "1") + frame(HEADERS, 4, 3, b"\x82"),
    "an end": call("slow", "1") + frame(DATA, 1, STREAM),
}


@pytest.mark.parametrize("what", ENDS)
def test_a_stream_leaves_nothing_at_its_pod(what: str, models: Path) -> None:
    async def gone() -> str:
        async with running_pod(models) as pod:
            streams = pod.servicer.streams
            await said(
                streams.port, BEGIN + call("quick", "1")
            )  # what the first call makes once is no garbage
            await eventually(lambda: not streams._open)
            with without_collector():
                for _ in range(3):
                    await said(streams.port, BEGIN + ENDS[what])
                await eventually(lambda: not streams._open)
                await asyncio.sleep(0)  # the last callbacks of the connections are done
                return unfreed()

    assert uvloop.run(gone()) == ""


async def said(port: int, data: bytes) -> None:
    """Connect, send bytes, and close behind them."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def asked(client: aiohttp.ClientSession, url: str, model: str, **options: Any) -> int:
    """The status of one call."""
    body = {"model_name": model, "features": [1.0]}
    async with client.post(f"{url}/predict", json=body, **options) as answer:
        await answer.read()
        return answer.status


def test_a_pod_that_falls_silent_leaves_nothing_at_its_gateway(models: Path) -> None:
    """Its streams and calls, its channel with the TCP connection, and the requests that it had."""

    async def gone() -> str:
        async with (
            Process("inference", HUB_MODELS=str(models)) as pod,
            running_gateway((pod.address,)) as gateway,
            aiohttp.ClientSession() as client,
        ):
            url = f"http://127.0.0.1:{gateway.port}"
            (backend,) = gateway.fleet.pods.values()
            await eventually(lambda: backend.state is PodState.UP)
            assert await asked(client, url, "quick") == 200
            with without_collector():
                slow = asyncio.create_task(asked(client, url, "slow"))
                await eventually(lambda: backend.channel is not None and backend.channel.running)
                pod.send(signal.SIGSTOP)
                await eventually(lambda: backend.state is PodState.LOST)
                assert await slow == 503
                pod.send(signal.SIGCONT)
                await eventually(lambda: backend.state is PodState.UP)
                assert await asked(client, url, "quick") == 200
                return unfreed()

    assert uvloop.run(gone()) == ""


def test_callers_who_leave_leave_nothing_at_either_tier(models: Path) -> None:
    """In the middle of a head, of a body, of a call that waits, and after an error."""
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\n"
    body = b'{"model_name": "slow", "features": [1]}'
    sent = [
        head[:20],
        head + b"content-length: 1000000\r\n\r\n" + bytes(500_000),
        head + b"content-length: 90000000\r\n\r\n" + bytes(500_000),
        head + b"transfer-encoding: chunked\r\n\r\n7a120\r\n" + bytes(300_000),
        head + b"transfer-encoding: chunked\r\n\r\nno chunk\r\n",
        head + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
        head + b"content-length: %d\r\n\r\n" % len(body) + body,
        head + b"content-length: %d\r\n\r\n" % len(body) + body + b"GET /v2 HTTP/1.1\r\nhost",
        head + b"content-length: 3\r\n\r\n{]}",
        b"GET /v2/models/none HTTP/1.1\r\nhost: a\r\n\r\n" * 30,
        b"GET / HTTP/9.9\r\n\r\n",
    ]

    async def gone() -> str:
        async with running_hub(models) as hub:
            for data in sent:
                await said(hub.gateway.port, data)
            with without_collector():
                for data in sent * 2:
                    await said(hub.gateway.port, data)
                await eventually(lambda: len(hub.gateway.http.connections) == 0)
                assert await asked(hub.client, hub.url, "slow", headers={"x-request-timeout-ms": "50"}) == 504
                assert await asked(hub.client, hub.url, "none") == 404
                assert await asked(hub.client, hub.url, "raises") == 500
                assert await asked(hub.client, hub.url, "quick") == 200
                return unfreed()

    assert uvloop.run(gone()) == ""


def test_a_unary_call_leaves_nothing_at_its_pod(models: Path) -> None:
    """One that is answered, one that fails, one that is too late, and one whose caller leaves."""

    async def gone() -> str:
        async with calling_pod(models) as pod:
            (slow,) = [one for one in pod.server.models if one.name == "slow"]

            def running() -> int:
                return slow.lane.in_use.jobs if slow.lane is not None else 0

            with without_collector():
                await pod.infer(features("quick", 1.0))
                assert (await pod.refusal(features("raises", 1.0)))[0] == "INTERNAL"
                assert (await pod.refusal(features("none", 1.0)))[0] == "NOT_FOUND"
                assert (await pod.refusal(features("slow", 1.0), timeout=0.2))[0] == "DEADLINE_EXCEEDED"
                await eventually(lambda: not running())
                left = pod.infer(features("slow", 1.0))
                await eventually(running)
                left.cancel()
                with suppress(asyncio.CancelledError):
                    await left  # a call that nobody awaits keeps itself in gRPC's own task
                await eventually(lambda: not running())
                del left
                return unfreed()

    assert uvloop.run(gone()) == ""


def test_streams_that_are_refused_leave_nothing_at_either_tier(models: Path) -> None:
    """Bytes that are no message, as the first or the second one of a stream."""
    methods = [
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
    ]

    async def gone() -> list[Any]:
        async with running_hub(models) as hub:
            with without_collector():
                for port in (hub.gateway.grpc.port, hub.pods[0].port):
                    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
                        assert await refused(watch(b"\xff"))
                        for method in methods:
                            ask: Any = channel.stream_stream(method)
                            assert await refused(ask(iter([b"\xff"])))
                            assert await refused(ask(iter([b"2\x00", b"\xff"])))
                return [one for one in gc.get_objects() if isinstance(one, grpc.aio.AbortError)]

    assert uvloop.run(gone()) == []


async def refused(call: Any) -> bool:
    """Whether a call of a stream ends with INVALID_ARGUMENT and a sentence of ours."""
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        refusal = (error.details() or "").startswith("the bytes that came are not a ")
        return refusal and error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return False


async def test_work_that_fails_in_a_thread_leaves_nothing() -> None:
    threads = Threads("m", 1)
    with without_collector():
        data = bytearray(1000)

        def work(data: bytearray = data) -> None:
            raise ValueError(len(data))

        with pytest.raises(ValueError, match="1000"):
            await threads.run(work)
        del data, work
        assert unfreed() == ""
    threads.close()
