"""Changed messages to every method of every gRPC service of both tiers, over unary calls and streams.

No call may end with the server's own fault, each feature that is not there is named, and good requests in between get
their right answers. `make fuzz` sends 20,000 messages to each service and watches the memory; `FUZZ_SEED` sets another
seed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from itertools import islice
from math import ceil
from struct import pack
from typing import Any

import grpc
import pytest
import pytest_asyncio

from inferencehub.core.oip import extension, messages
from inferencehub.pb import open_inference_pb2 as pb
from tests.fuzz.answers import Outcomes
from tests.fuzz.messages import Messages
from tests.fuzz.methods import Method, floats, log_settings, merged_requests, services
from tests.fuzz.servers import PARTS, WARM_UP, Level, Server, Servers, running_servers
from tests.inference.pod_processes import infer_of
from tests.long_runs import part_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

MESSAGES = part_of(20_000, 100)
SEED = int(os.environ.get("FUZZ_SEED", "1"))
WORKERS = 8
STREAMED = 5  # messages of a stream
ENDED = "Internal error from Core"  # what gRPC's client says if it writes while the server ends the stream
VALUES = (1.5, -2.0, float("inf"))
METADATA = [
    ("x-request-id", ""), ("x-request-id", "a b;c,d" * 30), ("x-request-id-bin", b"\xff\0"), ("hub-stream", "1"),
    ("hub-refused", "1"), ("content-length", "-1"), ("x-request-timeout-ms", "abc"), ("authorization", "Basic ?"),
    ("hub-async", "true"), ("hub-async", "wait=1"), ("hub-async", "?"),
]  # fmt: skip
OWN = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with running_servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


class Caller:
    """Calls one port.

    Args:
        channel: to the port.
        fuzz: changes messages.
    """

    def __init__(self, channel: grpc.aio.Channel, fuzz: Messages) -> None:
        self.channel = channel
        self.fuzz = fuzz
        self.outcomes = Outcomes()

    async def send(self, method: Method, count: int) -> None:
        """Send changed messages to a method, some at a time."""
        left = iter(range(count))

        async def work() -> None:
            while some := list(islice(left, STREAMED if method.streams else 1)):
                sent = [self.fuzz.changed(self.fuzz.random.choice(method.good)) for _ in some]
                try:
                    async with asyncio.timeout(60):
                        await (self.stream(method, sent) if method.streams else self.call(method, sent[0]))
                except grpc.aio.AioRpcError as error:
                    if error.details() != ENDED:
                        self.outcomes.refused(error.code().name, error.details() or "", (method.path, sent))

        await asyncio.gather(*[work() for _ in range(WORKERS)])

    async def call(self, method: Method, sent: bytes) -> None:
        """A call of one message. Of a watch, the first answer is enough."""
        if method.is_watch:
            make: Any = self.channel.unary_stream(method.path)
            watch = make(sent, **self.options())
            assert await watch.read() is not grpc.aio.EOF
            watch.cancel()
        else:
            one: Any = self.channel.unary_unary(method.path)
            await one(sent, **self.options())
        self.outcomes.answered()

    async def stream(self, method: Method, sent: list[bytes]) -> None:
        """A stream of messages, with all their answers."""
        make: Any = self.channel.stream_stream(method.path)
        call = make(iter(sent), **self.options())
        while (reply := await call.read()) is not grpc.aio.EOF:
            error = (
                pb.ModelStreamInferResponse.FromString(reply).error_message if "Infer" in method.path else ""
            )
            if error:
                self.outcomes.refused("error in a stream", error, (method.path, sent))
            else:
                self.outcomes.answered()

    def options(self) -> dict[str, Any]:
        """Metadata, now and then."""
        pick = self.fuzz.random
        return {"metadata": (pick.choice(METADATA),)} if pick.random() < 0.05 else {}

    async def good(self) -> None:
        """A good request, whose answer is compared; and the log's level, which other requests may have changed."""
        sent = floats("any_FP32", (len(VALUES),), *VALUES)
        answer = await infer_of(self.channel)(sent)
        if list(answer.raw_output_contents) != [pack("<3f", *VALUES)]:
            self.outcomes.wrong_value(answer, sent)
        level: Any = self.channel.unary_unary(f"/{messages.SERVICE}/LogSettings")
        await level(log_settings(log_info=True).SerializeToString())


@pytest.mark.parametrize(
    ("tier", "service"),
    [(tier, service) for tier in ("gateway", "pod") for service in services(extended=tier == "pod")],
)
async def test_each_method_of_a_service(servers: Servers, tier: str, service: str) -> None:
    server: Server = getattr(servers, tier)
    port = server.process.grpc_port if tier == "gateway" else server.process.port
    methods = services(extended=tier == "pod")[service]
    level, whole = Level(servers), sum([method.weight for method in methods])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OWN) as channel:
        caller = Caller(channel, Messages(SEED))
        for _ in range(WARM_UP + PARTS):
            for method in methods:
                await caller.send(method, ceil(MESSAGES * method.weight / (PARTS * whole)))
                await caller.good()
            level.look()
    print(f"\n{tier}, {service}:", end=" ")
    caller.outcomes.check()
    level.check()
    servers.check_logs()


async def test_standing_streams_of_a_pod(servers: Servers) -> None:
    """Messages as gateways send them, on the port that gateways use."""
    level, outcomes, fuzz, good = Level(servers), Outcomes(), Messages(SEED), merged_requests()
    async with grpc.aio.insecure_channel(servers.pod.process.address, OWN) as channel:
        ask: Any = channel.unary_unary(f"/{messages.SERVICE}/ServerMetadata")
        metadata = pb.ServerMetadataResponse.FromString(await ask(b""))
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{extension.stream_port_of(metadata.extensions)}", OWN
        ) as streams:
            make: Any = streams.stream_stream(messages.STREAM_METHOD)

            async def stream() -> None:
                sent = []
                for number in range(STREAMED):
                    message = pb.ModelInferRequest.FromString(fuzz.random.choice(good).SerializeToString())
                    message.id = str(number)
                    sent.append(fuzz.changed(message))
                async with asyncio.timeout(60):
                    async for data in make(iter(sent), metadata=((extension.STREAM, "10000000"),)):
                        reply = pb.ModelStreamInferResponse.FromString(data)
                        code, sentence, _ = extension.failure_from_proto(reply)
                        if code:
                            outcomes.refused(code, sentence, sent)
                        else:
                            outcomes.answered()

            for _ in range(WARM_UP + PARTS):
                for _ in range(MESSAGES // PARTS // STREAMED):
                    await stream()
                level.look()
        caller = Caller(channel, fuzz)
        await caller.good()
    print("\npod, standing streams:", end=" ")
    outcomes.check()
    caller.outcomes.check()
    level.check()
    servers.check_logs()
    assert outcomes.statuses["OK"]
