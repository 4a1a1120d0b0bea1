"""Bounds on what the stream port holds: half messages, answers that nobody reads, connections."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from h2.settings import SettingCodes, Settings

from inferencehub.core.http2.frames import DATA, PREFIX, STREAM, frame
from inferencehub.core.oip import extension, messages
from inferencehub.inference.grpc_api.standing_stream import StandingStream
from inferencehub.inference.grpc_api.streams import MOST_STREAMS
from inferencehub.inference.server import InferenceServer
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually, mock_model, running_pod, write_model
from tests.inference.pod_processes import features

pytestmark = pytest.mark.long

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", messages.STREAM_METHOD),
    (":authority", "a"),
    (extension.STREAM, "60000000"),
]
MEMBERS = '[[1, 60000000, "a"]]'


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A quick model, a slow one, and one whose answer has as many bytes as its input says."""
    mock_model(tmp_path, "quick")
    mock_model(tmp_path, "slow", delay_ms=60_000, slots=1)
    code = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"zeros": np.zeros(int(inputs["size"][0]), np.uint8)}
"""
    config = """backend: "python"
        input { name: "size" data_type: TYPE_INT64 dims: [1] }
        output { name: "zeros" data_type: TYPE_UINT8 dims: [-1] }"""
    write_model(tmp_path, "large", config, {"1/model.py": code})
    return tmp_path


class Gateway:
    """A gateway's end, which reads only when it is told to.

    Args:
        window: how many bytes it lets the pod send.
    """

    def __init__(self, window: int = 2**31 - 1) -> None:
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.h2.local_settings = Settings(
            client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.window = window
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.body = b""

    async def connect(self, pod: InferenceServer) -> None:
        """Open the stream."""
        port = pod.servicer.streams.port
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
        self.h2.initiate_connection()
        if self.window > 65_535:
            self.h2.increment_flow_control_window(self.window - 65_535)
        self.h2.send_headers(STREAM, REQUEST)
        self.writer.write(self.h2.data_to_send())

    def send(self, message: pb.ModelInferRequest) -> None:
        """Send a call."""
        self.writer.write(whole(message))

    async def reply(self) -> pb.ModelStreamInferResponse:
        """The next answer."""
        async with asyncio.timeout(30):
            while len(self.body) < 5 or len(self.body) < 5 + PREFIX.unpack(self.body[:5])[1]:
                data = await self.reader.read(2**16)
                assert data, "the connection was closed"
                events = self.h2.receive_data(data)
                self.body += b"".join([one.data or b"" for one in events if isinstance(one, DataReceived)])
        size = PREFIX.unpack(self.body[:5])[1]
        data, self.body = self.body[5 : 5 + size], self.body[5 + size :]
        return pb.ModelStreamInferResponse.FromString(data)

    def close(self) -> None:
        """Leave."""
        self.writer.transport.abort()


def zeros(id: str, size: int) -> pb.ModelInferRequest:
    """A call of the model with large answers."""
    message = pb.ModelInferRequest(model_name="large", id=id)
    message.parameters["hub_members"].string_param = MEMBERS
    message.inputs.add(name="size", datatype="INT64", shape=[1])
    message.raw_input_contents.append(size.to_bytes(8, "little"))
    return message


def whole(message: pb.ModelInferRequest) -> bytes:
    """A call as it is sent."""
    data = message.SerializeToString()
    return frame(DATA, 0, STREAM, PREFIX.pack(0, len(data)) + data)


def waits(stream: StandingStream) -> bool:
    """Whether its half message may be given up: a look of the stream has seen it, more than a second ago."""
    seen = stream._seen_begun == stream._incoming.half.begun
    return seen and asyncio.get_running_loop().time() - stream.whole_at > 1.0


def half(size: int, sent: int) -> bytes:
    """The first bytes of a message."""
    return frame(DATA, 0, STREAM, PREFIX.pack(0, size) + bytes(sent))


async def test_half_messages_count_in_the_budget_until_their_connection_ends(models: Path) -> None:
    async with running_pod(models, queue_bytes=10_000_000) as pod:
        held, gateway = pod.models.bytes_held, Gateway()
        await gateway.connect(pod)
        gateway.writer.write(half(9_000_000, 6_000_000))
        await eventually(lambda: held.held == 6_000_000)
        gateway.close()
        await eventually(lambda: held.held == 0)


async def test_a_message_without_room_is_refused_as_never_begun_and_the_stream_goes_on(models: Path) -> None:
    async with running_pod(models, queue_bytes=10_000_000) as pod:
        first, second = Gateway(), Gateway()
        await first.connect(pod)
        await second.connect(pod)
        first.writer.write(half(9_500_000, 9_000_000))
        await eventually(lambda: pod.models.bytes_held.held == 9_000_000)
        second.send(features("quick", *[0.0] * 1_000_000, id="17", hub_members=MEMBERS))
        reply = await second.reply()
        assert reply.infer_response.id == "17"
        assert extension.failure_from_proto(reply) == (
            "RESOURCE_EXHAUSTED",
            "the pod holds too many bytes of requests",
            True,
        )
        second.send(features("quick", 1.0, id="18", hub_members=MEMBERS))
        reply = await second.reply()
        assert (reply.infer_response.id, reply.error_message) == ("18", "")
        first.close()
        second.close()


async def test_the_oldest_half_message_makes_room_for_others_and_costs_only_its_call(models: Path) -> None:
    async with running_pod(models, queue_bytes=10_000_000) as pod:
        first, second = Gateway(), Gateway()
        await first.connect(pod)
        first.send(features("slow", 1.0, id="beside", hub_members=MEMBERS))
        await eventually(lambda: pod.models.get("slow").free == 0)
        large = whole(features("quick", *[0.0] * 2_300_000, id="16", hub_members=MEMBERS))
        first.writer.write(large[:9_000_000])
        await eventually(lambda: pod.models.bytes_held.held > 8_999_000)
        await second.connect(pod)
        (stream,) = [one for one in pod.servicer.streams._open if one.half]
        await eventually(lambda: waits(stream))
        second.send(features("quick", *[0.0] * 1_000_000, id="17", hub_members=MEMBERS))
        reply = await second.reply()
        assert (reply.infer_response.id, reply.error_message) == ("17", "")
        reply = await first.reply()  # at once, before the rest of it has come
        assert reply.infer_response.id == "16"
        assert extension.failure_from_proto(reply) == (
            "RESOURCE_EXHAUSTED",
            "the pod holds too many bytes of requests",
            True,
        )
        first.writer.write(large[9_000_000:])
        first.send(features("quick", 1.0, id="18", hub_members=MEMBERS))
        first.send(extension.cancel_to_proto("beside"))
        reply = await first.reply()
        assert (reply.infer_response.id, reply.error_message) == ("18", "")
        await eventually(lambda: pod.models.get("slow").free == 1)
        assert not stream.over
        first.close()
        second.close()


async def test_a_unary_message_beyond_the_limit_counts_until_it_is_refused(models: Path) -> None:
    """gRPC reads up to twice the limit. There is room for it only if the half message is given up."""
    async with running_pod(models, queue_bytes=1_000_000, max_message_bytes=500_000) as pod:
        gateway, held = Gateway(), pod.models.bytes_held
        await gateway.connect(pod)
        large = whole(features("quick", *[0.0] * 110_000, id="16", hub_members=MEMBERS))
        gateway.writer.write(large[:400_000])
        await eventually(lambda: held.held > 399_000)
        (stream,) = [one for one in pod.servicer.streams._open if one.half]
        await eventually(lambda: waits(stream))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{pod.port}") as channel:
            infer: Any = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await infer(bytes(900_000))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "the request has 900000 bytes, expected at most 500000"
        reply = await gateway.reply()
        assert reply.infer_response.id == "16"
        assert extension.failure_from_proto(reply)[0] == "RESOURCE_EXHAUSTED"
        await eventually(lambda: held.held == 0)
        gateway.close()


async def test_a_message_that_is_slower_than_its_time_costs_only_its_call(models: Path) -> None:
    async with running_pod(models) as pod:
        gateway = Gateway()
        await gateway.connect(pod)
        await eventually(lambda: pod.servicer.streams._open)
        (stream,) = pod.servicer.streams._open
        stream._message_s = 1.0
        large = whole(features("quick", *[0.0] * 100_000, id="16", hub_members=MEMBERS))
        gateway.writer.write(large[:200_000])
        reply = await gateway.reply()
        assert reply.infer_response.id == "16"
        assert extension.failure_from_proto(reply) == (
            "RESOURCE_EXHAUSTED",
            "the request did not arrive at the pod in time",
            True,
        )
        gateway.writer.write(large[200_000:])
        gateway.send(features("quick", 1.0, id="17", hub_members=MEMBERS))
        reply = await gateway.reply()
        assert (reply.infer_response.id, reply.error_message) == ("17", "")
        assert (pod.models.bytes_held.held, stream.over) == (0, False)
        gateway.close()


async def test_a_message_beyond_the_limit_costs_only_its_call(models: Path) -> None:
    async with running_pod(models, max_message_bytes=100_000) as pod:
        gateway = Gateway()
        await gateway.connect(pod)
        gateway.send(features("quick", *[0.0] * 25_000, id="16", hub_members=MEMBERS))
        gateway.send(features("quick", 1.0, id="17", hub_members=MEMBERS))
        reply = await gateway.reply()
        assert reply.infer_response.id == "16"
        assert extension.failure_from_proto(reply) == (
            "INVALID_ARGUMENT",
            "the request has more than 100000 bytes",
            False,
        )
        reply = await gateway.reply()
        assert (reply.infer_response.id, reply.error_message) == ("17", "")
        gateway.close()


@pytest.mark.parametrize("window", [65_535, 2**31 - 1])
async def test_answers_that_nobody_reads_count_and_end_their_connection(window: int, models: Path) -> None:
    """The gateway that leaves its window closed, and the one that does not read its socket."""
    async with running_pod(models, queue_bytes=50_000_000) as pod:
        gateway = Gateway(window)
        await gateway.connect(pod)
        await eventually(lambda: pod.servicer.streams._open)
        (stream,) = pod.servicer.streams._open
        held = pod.models.bytes_held
        gateway.send(zeros("1", 30_000_000))
        await eventually(lambda: held.held > 20_000_000)
        assert not stream.over
        await eventually(lambda: stream.over)  # after 10 s in which it reads nothing
        await eventually(lambda: held.held == 0)
        gateway.close()


async def test_of_many_who_do_not_read_only_those_stay_for_whom_there_is_room(models: Path) -> None:
    """The budget has room for one of these answers."""
    async with running_pod(models, queue_bytes=50_000_000) as pod:
        streams, gateways = pod.servicer.streams, [Gateway() for _ in range(4)]
        loop = asyncio.get_running_loop()
        for gateway in gateways:
            await gateway.connect(pod)
            await eventually(lambda: any(not one.unsent() and one._begun for one in streams._open))
            (stream,) = [one for one in streams._open if not one.unsent()]
            gateway.send(zeros("1", 30_000_000))
            await eventually(stream.unsent)
            waiting = streams.unread._waiting[stream]
            # It has read nothing for longer than a tick, so what the kernel took meanwhile is seen.
            await eventually(lambda waiting=waiting: loop.time() - waiting.since > 2.1)
        assert len(streams._open) == 1
        assert pod.models.bytes_held.held < 50_000_000
        for gateway in gateways:
            gateway.close()


async def test_connections_beyond_the_limit_are_closed_at_once(models: Path) -> None:
    async with running_pod(models) as pod:
        writers = [
            (await asyncio.open_connection("127.0.0.1", pod.servicer.streams.port))[1]
            for _ in range(MOST_STREAMS)
        ]
        await eventually(lambda: len(pod.servicer.streams._open) == MOST_STREAMS)
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.servicer.streams.port)
        try:
            async with asyncio.timeout(30):
                while await reader.read(2**16):
                    pass
        except ConnectionResetError:
            pass
        assert len(pod.servicer.streams._open) == MOST_STREAMS
        writers.pop().transport.abort()
        await eventually(lambda: len(pod.servicer.streams._open) == MOST_STREAMS - 1)
        gateway = Gateway()
        await gateway.connect(pod)
        gateway.send(features("quick", 1.0, id="2", hub_members=MEMBERS))
        assert (await gateway.reply()).error_message == ""
        gateway.close()
        writer.close()
        for one in writers:
            one.transport.abort()
