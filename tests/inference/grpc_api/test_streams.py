"""The pod's end of a standing stream: each call ends separately, without the stream, and the stream can end too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
from hpack import Encoder

from inferencehub.core.http2.frames import (
    CANCEL,
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
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually, mock_model
from tests.inference.pod_processes import Pod, calling_pod, features

METHOD = f"/{messages.SERVICE}/ModelStreamInfer"
MINUTE = 60_000_000  # microseconds


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A quick model, ones that take 200 ms and 2 s, and one that takes a minute and has one instance."""
    mock_model(tmp_path, "quick")
    mock_model(tmp_path, "soon", delay_ms=200)
    mock_model(tmp_path, "later", delay_ms=2000)
    mock_model(tmp_path, "slow", delay_ms=60_000, slots=1)
    return tmp_path


class Stream:
    """A gateway's end."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, id: str, model: str = "quick", left_us: int = MINUTE, **parameters: Any) -> None:
        """Send a call of one member."""
        members = f'[[1, {left_us}, "caller-{id}"]]'
        await self.call.write(features(model, 1.0, id=id, hub_members=members, **parameters))

    async def reply(self) -> tuple[str, str, pb.ModelStreamInferResponse]:
        """Id, code ("" for success) and message of the next answer."""
        reply = await asyncio.wait_for(self.call.read(), 30)
        assert reply is not grpc.aio.EOF
        code = extension.failure_from_proto(reply)[0]
        assert bool(code) is bool(reply.error_message)
        return reply.infer_response.id, code, reply


@asynccontextmanager
async def calling(
    pod: Pod, *metadata: tuple[str, str], method: str = METHOD, serialize: Any = None
) -> AsyncIterator[Any]:
    """A call of gRPC's own client to the port that the pod tells, cancelled at the end."""
    ask: Any = pod.channel.unary_unary(
        f"/{messages.SERVICE}/ServerMetadata", response_deserializer=pb.ServerMetadataResponse.FromString
    )
    port = extension.stream_port_of((await ask(b"")).extensions)
    own = (("grpc.use_local_subchannel_pool", 1),)  # else two channels would share a connection
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", own) as channel:
        call: Any = channel.stream_stream(
            method,
            request_serializer=serialize,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )(metadata=metadata)
        try:
            yield call
        finally:
            call.cancel()


@asynccontextmanager
async def stream_to(pod: Pod, most_bytes: int = 10_000_000) -> AsyncIterator[Stream]:
    """A stream with our mark."""
    mark = (extension.STREAM, str(most_bytes))
    async with calling(pod, mark, serialize=pb.ModelInferRequest.SerializeToString) as call:
        yield Stream(call)


async def test_calls_run_side_by_side_and_each_answer_has_its_id_its_times_and_its_line(models: Path) -> None:
    async with calling_pod(models, max_message_bytes=123_456) as pod, stream_to(pod) as stream:
        assert dict(await stream.call.initial_metadata())[extension.STREAM] == "123456"
        await stream.send("1", "soon")
        await stream.send("2")
        id, code, reply = await stream.reply()
        assert (id, code) == ("2", "")
        assert reply.infer_response.outputs[0].name == "class_id"
        line = await pod.line()
        assert (line["id"], line["status"], line["rows"]) == ("caller-2", "ok", 1)
        id, code, reply = await stream.reply()
        assert (id, code) == ("1", "")
        parameters = reply.infer_response.parameters
        assert parameters["hub_compute_us"].int64_param > 190_000
        assert parameters["hub_free"].int64_param == 4
        assert (await pod.line())["id"] == "caller-1"


async def test_an_error_ends_its_call_and_not_the_stream(models: Path) -> None:
    async with calling_pod(models) as pod, stream_to(pod) as stream:
        await stream.send("1", "unknown")
        id, code, reply = await stream.reply()
        assert (id, code) == ("1", "NOT_FOUND")
        assert reply.error_message.startswith("model 'unknown' is unknown, expected one of: ")
        await stream.send("2", headers=1)
        _, code, reply = await stream.reply()
        assert (code, reply.error_message) == (
            "INVALID_ARGUMENT",
            "parameter 'headers' is reserved, expected 'timeout' or parameters of the model",
        )
        await stream.call.write(pb.ModelInferRequest(id="3", model_name="quick"))
        assert (await stream.reply())[:2] == ("3", "INVALID_ARGUMENT")
        await stream.send("4")
        assert (await stream.reply())[:2] == ("4", "")


async def test_what_a_pod_has_no_room_for_is_refused_as_never_begun(models: Path) -> None:
    async with calling_pod(models) as pod, stream_to(pod) as stream:
        for id in ("1", "2", "3"):  # one runs, one waits
            await stream.send(id, "slow")
        id, code, reply = await stream.reply()
        assert (id, code) == ("3", "RESOURCE_EXHAUSTED")
        assert extension.failure_from_proto(reply)[2]


async def test_a_call_that_nobody_waits_for_any_more_is_ended(models: Path) -> None:
    async with calling_pod(models) as pod, stream_to(pod) as stream:
        slow = pod.server.models.get("slow")
        await stream.send("1", "slow")
        await eventually(lambda: slow.free == 0)
        await stream.call.write(extension.cancel_to_proto("1"))
        await eventually(lambda: slow.free == 1)
        line = await pod.line()
        assert (line["id"], line["status"]) == ("caller-1", "cancelled")
        await stream.call.write(extension.cancel_to_proto("1"))  # twice, or too late: nothing
        await stream.send("2")
        assert (await stream.reply())[0] == "2"


async def test_each_call_has_the_time_that_its_message_says(models: Path) -> None:
    async with calling_pod(models, default_timeout_ms=100) as pod, stream_to(pod) as stream:
        began = monotonic()
        await stream.send("1", "slow", left_us=50_000)
        await stream.send("2", "soon")  # longer than the default of a call that does not say
        assert (await stream.reply())[:2] == ("1", "DEADLINE_EXCEEDED")
        assert 0.04 < monotonic() - began < 15.0, "the run takes a minute"
        assert (await stream.reply())[:2] == ("2", "")


async def test_an_answer_beyond_what_the_gateway_takes_fails_its_call_alone(models: Path) -> None:
    async with calling_pod(models) as pod, stream_to(pod, most_bytes=60) as stream:
        await stream.send("1")
        id, code, reply = await stream.reply()
        assert (id, code) == ("1", "INTERNAL")
        assert reply.error_message.endswith("more than the limit 60")
        assert (await pod.line())["status"] == "model_failed"


async def test_a_pod_that_stops_answers_what_runs_refuses_the_rest_and_ends_the_stream(models: Path) -> None:
    async with calling_pod(models, drain_timeout_s=30.0) as pod, stream_to(pod) as stream:
        await stream.send("1", "later")
        await eventually(lambda: pod.server.models.get("later").free == 3)
        began = monotonic()
        stopping = asyncio.create_task(pod.server.stop())
        await asyncio.sleep(0.02)
        await stream.send("2")
        id, code, reply = await stream.reply()
        assert (id, code, extension.failure_from_proto(reply)[2]) == ("2", "RESOURCE_EXHAUSTED", True)
        assert (await stream.reply())[:2] == ("1", "")
        assert await stream.call.read() is grpc.aio.EOF
        assert await stream.call.code() is grpc.StatusCode.OK
        await stopping
        assert monotonic() - began < 15.0, "an empty stream held up the stop"


async def test_a_gateway_that_goes_away_ends_its_calls(models: Path) -> None:
    async with calling_pod(models) as pod:
        slow = pod.server.models.get("slow")
        async with stream_to(pod) as stream:
            await stream.send("1", "slow")
            await eventually(lambda: slow.free == 0)
        await eventually(lambda: slow.free == 1)
        assert (await pod.line())["status"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "metadata"),
    [(METHOD, ()), (METHOD, ((extension.STREAM, "much"),)), ("/a.B/C", ((extension.STREAM, "1000"),))],
)
async def test_a_stream_without_our_mark_is_not_one_of_ours(
    models: Path, method: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    async with calling_pod(models) as pod, calling(pod, *metadata, method=method) as call:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert caught.value.details() == "this port is for the streams of gateways"


async def test_bytes_that_are_no_message_are_answered_and_the_stream_goes_on(models: Path) -> None:
    async with calling_pod(models) as pod, calling(pod, (extension.STREAM, "10000000")) as call:
        stream = Stream(call)
        await call.write(b"\xff\xff")
        assert (await stream.reply())[:2] == ("", "INVALID_ARGUMENT")
        await call.write(
            features("quick", 1.0, id="2", hub_members='[[1, 60000000, ""]]').SerializeToString()
        )
        assert (await stream.reply())[:2] == ("2", "")


async def test_a_gateway_that_asks_no_more_gets_what_runs_and_then_the_end(models: Path) -> None:
    async with calling_pod(models) as pod, stream_to(pod) as stream:
        await stream.send("1", "soon")
        await stream.call.done_writing()
        assert (await stream.reply())[:2] == ("1", "")
        assert await stream.call.read() is grpc.aio.EOF
        assert await stream.call.code() is grpc.StatusCode.OK


async def test_a_large_message_comes_whole(models: Path) -> None:
    async with calling_pod(models) as pod, stream_to(pod) as stream:
        for size in (20_000, 700_000, 1):
            request = features("quick", *[0.5] * size, id=str(size), hub_members='[[1, 60000000, ""]]')
            await stream.call.write(request)
            assert (await stream.reply())[:2] == (str(size), "")


async def test_what_still_runs_when_the_time_to_stop_is_over_is_cut_off(models: Path) -> None:
    async with calling_pod(models, drain_timeout_s=0.2) as pod, stream_to(pod) as stream:
        await stream.send("1", "slow")
        await eventually(lambda: pod.server.models.get("slow").free == 0)
        began = monotonic()
        await pod.server.stop()
        assert monotonic() - began < 15.0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_behind_the_reset_of_its_stream_is_not_begun(models: Path) -> None:
    async with calling_pod(models) as pod:
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.server.servicer.streams.port)
        request = [(":method", "POST"), (":scheme", "http"), (":path", METHOD), (extension.STREAM, "1000000")]
        writer.write(PREFACE + settings() + frame(HEADERS, 4, STREAM, Encoder().encode(request)))
        assert await asyncio.wait_for(reader.read(9), 30)
        members = f'[[1, {MINUTE}, "a"]]'
        message = features("slow", 1.0, id="1", hub_members=members).SerializeToString()
        data = frame(DATA, 0, STREAM, PREFIX.pack(0, len(message)) + message)
        writer.write(frame(RST_STREAM, 0, STREAM, NUMBER.pack(CANCEL)) + data)
        await asyncio.sleep(0.2)
        assert pod.server.models.get("slow", "").free == 1
        writer.close()


async def test_calls_that_were_lost_before_run_one_at_a_time_and_are_told_begun(models: Path) -> None:
    """Whatever the stream and the model; other calls may run beside them."""
    async with calling_pod(models) as pod, stream_to(pod) as stream, stream_to(pod) as other:
        assert extension.TELLS_BEGUN in dict(await stream.call.initial_metadata())
        await stream.send("1", "slow", hub_again=1)
        id, code, reply = await stream.reply()
        assert (id, code, extension.BEGUN in reply.infer_response.parameters) == ("1", "", True)
        await other.send("7", hub_again=1)
        id, code, reply = await other.reply()
        assert (id, code, extension.failure_from_proto(reply)[2]) == ("7", "RESOURCE_EXHAUSTED", True)
        assert reply.error_message == "the pod already runs a request that was lost with another pod"
        await other.send("8")
        id, code, reply = await other.reply()
        assert (id, code, extension.BEGUN in reply.infer_response.parameters) == ("8", "", False)
        await stream.call.write(extension.cancel_to_proto("1"))
        await eventually(lambda: pod.server.servicer.streams.again is None)
        await other.send("9", hub_again=1)
        assert extension.BEGUN in (await other.reply())[2].infer_response.parameters
        id, code, reply = await other.reply()
        assert (id, code, reply.infer_response.outputs[0].name) == ("9", "", "class_id")
        assert pod.server.servicer.streams.again is None
