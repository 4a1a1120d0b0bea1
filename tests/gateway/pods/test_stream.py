"""The standing stream to a pod: which messages it carries, and what happens to calls when it breaks.

The pod belongs to the test: it has our extensions, and the test controls what it does to a stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest
import uvloop

from inferencehub.core.oip import extension, messages
from inferencehub.gateway.pods import stream
from inferencehub.gateway.pods.link import Failed
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually, running_gateway


class Scripted:
    """A pod with one model, `echo`, of FP32 vectors.

    Args:
        at_most_once: whether the model's config says so.
        limit: bytes of the largest message that it takes on a stream, or so it says.
    """

    def __init__(self, at_most_once: bool = False, limit: int = 10_000_000) -> None:
        self.at_most_once = at_most_once
        self.limit = limit
        self.streams = 0
        self.unary: list[pb.ModelInferRequest] = []
        self.seen: list[pb.ModelInferRequest] = []  # on streams
        self.came_by: list[int] = []  # and by which stream
        self.act = self.give  # what is done with a call on a stream; its text, if any, ends the stream
        self.takes_streams = True
        self.loaded = True
        self.lacks = False  # its model, while it accepts work
        self.port = 0
        self.index_s = 0.0  # how long it takes to list its models
        self.listing = 0  # lists of its models that it was asked for
        self.lists = asyncio.Event()  # they may be sent
        self.lists.set()
        self.described = 0  # times that its model was asked for
        self.describes = asyncio.Event()  # it may say what its model takes
        self.describes.set()

    async def give(self, message: pb.ModelInferRequest, context: Any) -> str:
        """Answer at once."""
        await context.write(pb.ModelStreamInferResponse(infer_response=echo(message)))
        return ""

    async def stream(self, requests: Any, context: Any) -> None:
        if not self.takes_streams:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        assert dict(context.invocation_metadata())[extension.STREAM].isdigit()
        await context.send_initial_metadata(((extension.STREAM, str(self.limit)),))
        self.streams += 1
        number = self.streams
        while (message := await context.read()) is not grpc.aio.EOF:
            self.seen.append(message)
            self.came_by.append(number)
            if end := await self.act(message, context):
                if end != "OK":
                    await context.abort(grpc.StatusCode[end], "the end")
                return

    async def infer(self, message: Any, context: Any) -> Any:
        self.unary.append(message)
        return echo(message)

    async def metadata(self, request: Any, context: Any) -> Any:
        extensions = [extension.EXTENSION, f"{extension.STREAM_PORT}{self.port}"]
        return pb.ServerMetadataResponse(name="scripted", version="1", extensions=extensions)

    async def model(self, request: Any, context: Any) -> Any:
        self.described += 1
        await self.describes.wait()
        vector = {"datatype": "FP32", "shape": [-1]}
        return pb.ModelMetadataResponse(
            name="echo",
            versions=["1"],
            inputs=[{"name": "x", **vector}],
            outputs=[{"name": "y", **vector}],
        )

    async def config(self, request: Any, context: Any) -> Any:
        reply = pb.ModelConfigResponse()
        reply.config.instance_group.add(count=4)
        if self.at_most_once:
            reply.config.parameters["run_at_most_once"].string_value = "true"
        return reply

    async def index(self, request: Any, context: Any) -> Any:
        await asyncio.sleep(self.index_s)
        models = (
            [{"name": "echo", "version": "1", "state": "READY"}] if self.loaded and not self.lacks else []
        )
        self.listing += 1
        await self.lists.wait()
        return pb.RepositoryIndexResponse(models=models)

    async def ready(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self.loaded)

    async def model_ready(self, request: Any, context: Any) -> Any:
        return pb.ModelReadyResponse(ready=True)


def echo(message: pb.ModelInferRequest) -> pb.ModelInferResponse:
    """The input as the output."""
    reply = pb.ModelInferResponse(model_name="echo", model_version="1", id=message.id)
    reply.outputs.add(name="y", datatype="FP32", shape=message.inputs[0].shape)
    reply.raw_output_contents.append(message.raw_input_contents[0])
    return reply


@asynccontextmanager
async def serving(pod: Scripted) -> AsyncIterator[str]:
    """The pod on a free port, and its address."""
    unaries: dict[str, tuple[Any, Any]] = {
        "ServerReady": (pod.ready, pb.ServerReadyRequest),
        "ModelReady": (pod.model_ready, pb.ModelReadyRequest),
        "ServerMetadata": (pod.metadata, pb.ServerMetadataRequest),
        "ModelMetadata": (pod.model, pb.ModelMetadataRequest),
        "ModelConfig": (pod.config, pb.ModelConfigRequest),
        "RepositoryIndex": (pod.index, pb.RepositoryIndexRequest),
        "ModelInfer": (pod.infer, pb.ModelInferRequest),
    }
    write = {"response_serializer": lambda reply: reply.SerializeToString()}
    methods: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(method, request_deserializer=request.FromString, **write)
        for name, (method, request) in unaries.items()
    }
    methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        pod.stream, request_deserializer=pb.ModelInferRequest.FromString, **write
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(messages.SERVICE, methods)])
    pod.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{pod.port}"
    finally:
        await server.stop(None)


class Client:
    """A caller of a gateway."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self.client = client

    async def ask(self, *values: float, timeout_ms: int = 5000) -> tuple[int, Any]:
        """Status, and the values of the answer or its error."""
        x = {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": values}
        headers = {"x-request-timeout-ms": str(timeout_ms)}
        async with self.client.post("/v2/models/echo/infer", json={"inputs": [x]}, headers=headers) as answer:
            body = await answer.json()
            return answer.status, body["outputs"][0]["data"] if answer.status == 200 else body["error"]


@asynccontextmanager
async def asking(pod: Scripted, **settings: Any) -> AsyncIterator[Client]:
    """A client of a gateway in front of the pod, once its streams stand, if there shall be any."""
    async with serving(pod) as address, running_gateway((address,), **settings) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        if pod.takes_streams:
            await eventually(lambda: pod.streams == 2)
            await asyncio.sleep(0.1)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as client:
            yield Client(client)


async def test_calls_go_over_one_stream_and_each_caller_gets_its_own_answer() -> None:
    pod = Scripted()
    held: list[pb.ModelInferRequest] = []

    async def turned_round(message: pb.ModelInferRequest, context: Any) -> str:
        """Answers in the opposite order, four at a time."""
        held.append(message)
        if len(held) == 4:
            for one in reversed(held):
                await pod.give(one, context)
        return ""

    pod.act = turned_round
    async with asking(pod) as client:
        answers = await asyncio.gather(*[client.ask(float(n)) for n in range(4)])
        assert answers == [(200, [float(n)]) for n in range(4)]
        assert not pod.unary
        assert len(set(pod.came_by)) == 1
        assert len({message.id for message in pod.seen}) == 4


def test_they_do_so_on_uvloop_which_gateways_run_on() -> None:
    async def ask() -> None:
        pod = Scripted()
        async with asking(pod) as client:
            assert await client.ask(1.0) == (200, [1.0])
            assert (len(pod.seen), len(pod.unary)) == (1, 0)

    uvloop.run(ask())


async def test_a_request_too_large_for_the_stream_is_a_call_of_its_own() -> None:
    pod = Scripted(limit=4096)
    async with asking(pod) as client:
        many = [float(n) for n in range(2000)]
        assert await client.ask(*many) == (200, many)
        assert await client.ask(1.0) == (200, [1.0])
        assert [len(message.raw_input_contents[0]) for message in pod.unary] == [8000]
        assert len(pod.seen) == 1


async def test_a_model_with_large_requests_or_answers_does_not_keep_others_waiting() -> None:
    pod = Scripted()

    async def much(message: pb.ModelInferRequest, context: Any) -> str:
        reply = echo(message)
        reply.outputs[0].shape[:] = [300_000]
        reply.raw_output_contents[0] = bytes(1_200_000)
        await context.write(pb.ModelStreamInferResponse(infer_response=reply))
        return ""

    pod.act = much
    async with asking(pod) as client:
        assert len((await client.ask(1.0))[1]) == 300_000
        pod.act = pod.give
        assert await client.ask(2.0) == (200, [2.0])  # expected to be answered as the last one was
        assert await client.ask(3.0) == (200, [3.0])
        assert (await client.ask(*[0.5] * 300_000))[0] == 200
        assert (await client.ask(4.0))[0] == 200  # after a large answer
        assert (await client.ask(5.0))[0] == 200
        small, large = pod.came_by[0], pod.came_by[1]
        assert small != large
        assert pod.came_by == [small, large, small, large, large, small]
        assert not pod.unary


async def test_a_pod_that_takes_no_stream_gets_calls_of_their_own_until_it_does() -> None:
    pod = Scripted()
    pod.takes_streams = False
    async with asking(pod) as client:
        assert await client.ask(1.0) == (200, [1.0])
        assert len(pod.unary) == 1
        pod.takes_streams = True
        await eventually(lambda: pod.streams == 2)
        await asyncio.sleep(0.1)
        assert await client.ask(2.0) == (200, [2.0])
        assert (len(pod.unary), len(pod.seen)) == (1, 1)


async def test_a_caller_that_leaves_or_runs_out_of_time_ends_its_call_at_the_pod() -> None:
    pod = Scripted()

    async def keep(message: pb.ModelInferRequest, context: Any) -> str:
        return ""

    pod.act = keep
    async with asking(pod) as client:
        asked = asyncio.create_task(client.ask(1.0))
        await eventually(lambda: len(pod.seen) == 1)
        await asyncio.sleep(0.1)
        asked.cancel()
        await eventually(lambda: len(pod.seen) == 2)
        assert pod.seen[1] == extension.cancel_to_proto(pod.seen[0].id)
        status, said = await client.ask(2.0, timeout_ms=200)
        assert (status, said) == (504, "model 'echo' gave no answer before the request's deadline")
        await eventually(lambda: len(pod.seen) == 4)
        assert pod.seen[3] == extension.cancel_to_proto(pod.seen[2].id)
        pod.act = pod.give  # all four places are free again
        assert [s for s, _ in await asyncio.gather(*[client.ask(3.0) for _ in range(8)])] == [200] * 8


async def test_what_a_stream_that_ends_with_ok_did_not_answer_runs_again_even_at_most_once() -> None:
    pod = Scripted(at_most_once=True)

    async def end(message: pb.ModelInferRequest, context: Any) -> str:
        pod.act = pod.give
        return "OK"

    pod.act = end
    async with asking(pod) as client:
        assert await client.ask(1.0) == (200, [1.0])
        small, large = pod.came_by
        assert small != large
        await eventually(lambda: pod.streams == 3)
        await asyncio.sleep(0.1)
        assert await client.ask(2.0) == (200, [2.0])
        assert (pod.came_by[2], pod.unary) == (3, [])


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED", "CANCELLED"])
@pytest.mark.parametrize(("at_most_once", "status"), [(False, 200), (True, 503)])
async def test_what_a_broken_stream_did_not_answer_is_lost(
    at_most_once: bool, status: int, code: str
) -> None:
    pod = Scripted(at_most_once)

    async def cut(message: pb.ModelInferRequest, context: Any) -> str:
        pod.act = pod.give
        return code

    pod.act = cut
    async with asking(pod) as client:
        assert (await client.ask(1.0))[0] == status
        assert await client.ask(2.0) == (200, [2.0])
        assert len(pod.seen) == (2 if at_most_once else 3)


async def test_an_error_without_a_status_is_the_model_s() -> None:
    pod = Scripted()

    async def strange(message: pb.ModelInferRequest, context: Any) -> str:
        await context.write(
            pb.ModelStreamInferResponse(
                error_message="odd", infer_response=pb.ModelInferResponse(id=message.id)
            )
        )
        return ""

    pod.act = strange
    async with asking(pod) as client:
        assert await client.ask(1.0) == (500, "odd")


async def test_an_answer_to_nobody_is_dropped() -> None:
    pod = Scripted()

    async def twice(message: pb.ModelInferRequest, context: Any) -> str:
        await pod.give(message, context)
        return await pod.give(message, context)

    pod.act = twice
    async with asking(pod) as client:
        for number in range(5):
            assert await client.ask(float(number)) == (200, [float(number)])


async def test_a_stream_whose_connection_has_gone_silent_is_lost() -> None:
    """As where a firewall forgot it, while the pod's other connections live."""
    pod = Scripted()
    async with serving(pod) as address:
        forgets = False

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(2**16):
                if not forgets:
                    writer.write(data)
            writer.close()

        async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection(*address.split(":"))
            await asyncio.gather(forward(reader, there[1]), forward(there[0], writer))

        firewall = await asyncio.start_server(between, "127.0.0.1", 0)
        one = stream.PodStream(f"127.0.0.1:{firewall.sockets[0].getsockname()[1]}", 10_000, 0.3, ping_s=0.3)
        await one.open()
        running = asyncio.create_task(one.run())
        x = pb.ModelInferRequest(model_name="echo", id="1", raw_input_contents=[b"1234"])
        x.inputs.add(name="x", datatype="FP32", shape=[1])
        assert (await one.infer("1", [x.SerializeToString()], None)).raw_output_contents == [b"1234"]
        await asyncio.sleep(1.5)
        assert not running.done()
        forgets = True
        with pytest.raises(Failed, match="UNAVAILABLE: the stream broke"):
            await asyncio.wait_for(one.infer("2", [x.SerializeToString()], None), 30)
        await running
        firewall.close()


async def test_one_that_cannot_be_opened_says_why() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(TimeoutError):
        await stream.PodStream(address, 10_000, 0.2).open()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await stream.PodStream(address, 10_000, 0.2).open()
    with pytest.raises(ValueError, match="nowhere"):
        await stream.PodStream("nowhere", 10_000, 0.2).open()
