"""Connections to the gateway's gRPC port: pings, their greatest age, what they leave behind, reflection and health."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from inferencehub.core.oip import messages
from tests.gateway.grpc_api.calling import Health, calling
from tests.h2_caller import h2_caller
from tests.hub import Process, eventually, mock_model
from tests.inference.pod_processes import features, infer_of
from tests.long_runs import part_of
from tests.machine import resident

INFER = f"/{messages.SERVICE}/ModelInfer"
PREDICT_SERVICE = "inference.ModelInference"


# --- pings ---


async def test_a_caller_may_ping_without_a_call_and_not_all_the_time(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with (
        calling(tmp_path) as caller,
        h2_caller(caller.gateway.grpc.port) as one,
        h2_caller(caller.gateway.grpc.port) as another,
    ):
        for quiet in (one, another):
            await quiet.ping()
            assert quiet.acked
        for _ in range(20):
            if not one.going:
                await one.ping()
        await one.until_lost()
        assert one.going, "it was told why"
        number = another.call(INFER, features("quick", 1).SerializeToString())
        assert (await another.until(number))["grpc-status"] == "0"
        assert not another.going


async def test_a_client_that_keeps_alive_is_served(tmp_path: Path) -> None:
    """gRPC's own client, with the shortest interval that it has; it sends pings only if the server allows them."""
    mock_model(tmp_path)
    options = [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_permit_without_calls", 1)]
    async with (
        calling(tmp_path) as caller,
        grpc.aio.insecure_channel(caller.address, options) as channel,
    ):
        infer = infer_of(channel)
        for _ in range(3):
            assert (await infer(features("quick", 1))).model_name == "quick"


# --- age ---


@pytest.mark.long
async def test_calls_that_are_longer_than_a_connection_may_live_are_all_answered(tmp_path: Path) -> None:
    mock_model(tmp_path, delay_ms=700, slots=8)
    async with calling(tmp_path, grpc_max_connection_age_s=0.3) as caller:
        seen: Counter[str] = Counter()

        async def sticks() -> None:
            for _ in range(4):
                try:
                    seen[(await caller.infer(features("quick", 1))).model_name] += 1
                except grpc.aio.AioRpcError as error:
                    seen[f"{error.code().name} {error.details()}"] += 1

        await asyncio.gather(*[sticks() for _ in range(8)])
        assert seen == {"quick": 32}


# --- what is left behind ---


def mixture(count: int) -> Iterator[tuple[str, bytes]]:
    """Calls that are good, that are broken in several ways, and that their callers leave."""
    luck = random.Random(7)
    good = features("quick", *range(200)).SerializeToString()
    for _ in range(count):
        kind = luck.choice(("good", "good", "cut", "mutated", "unknown", "left", "left"))
        if kind == "cut":
            yield kind, good[: luck.randrange(len(good))]
        elif kind == "mutated":
            data = bytearray(good)
            data[luck.randrange(len(data))] = luck.randrange(256)
            yield kind, bytes(data)
        else:
            name = "nobody" if kind == "unknown" else "slow" if kind == "left" else "quick"
            yield kind, features(name, *range(200)).SerializeToString()


async def run_mixture(infer: Any, count: int) -> Counter[str]:
    """Run such calls, 32 at a time; how they ended."""
    ended: Counter[str] = Counter()
    calls = mixture(count)

    async def some() -> None:
        for kind, data in calls:
            call = infer(data)
            if kind == "left":
                await asyncio.sleep(0.001)
                call.cancel()
            try:
                await call
                ended["OK"] += 1
            except asyncio.CancelledError:
                ended["CANCELLED"] += 1
            except grpc.aio.AioRpcError as error:
                ended[error.code().name] += 1

    await asyncio.gather(*[some() for _ in range(32)])
    return ended


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
async def test_many_calls_good_broken_and_left_leave_nothing_behind(tmp_path: Path) -> None:
    mock_model(tmp_path)
    mock_model(tmp_path, "slow", delay_ms=20, slots=4)
    count = part_of(20_000)
    async with (
        Process("inference", HUB_MODELS=str(tmp_path)) as pod,
        Process("gateway", GRPC_SERVER_URL=pod.address) as gateway,
        grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel,
    ):
        infer: Any = channel.unary_unary(INFER)
        await run_mixture(infer, 2000)
        before = resident(gateway.pid), resident(pod.pid)
        ended = await run_mixture(infer, count)
        assert not {"INTERNAL", "UNKNOWN"} & set(ended), ended
        assert ended["OK"] > count / 5
        assert ended["CANCELLED"] > count / 10
        after = resident(gateway.pid), resident(pod.pid)
        assert after[0] - before[0] < 8_000_000, "the gateway's memory is level"
        assert after[1] - before[1] < 8_000_000, "the pod's memory is level"
        answer = await infer(features("quick", 1).SerializeToString())
        assert b"quick" in answer


# --- what is there ---


async def test_a_client_can_find_and_call_a_method_by_reflection_alone(tmp_path: Path) -> None:
    """As grpcurl does: it lists the services, reads their descriptors, and makes the messages from these."""
    mock_model(tmp_path)
    async with calling(tmp_path) as caller:

        def find_and_call() -> tuple[set[str], Any]:
            with grpc.insecure_channel(caller.address) as channel:
                database = ProtoReflectionDescriptorDatabase(channel)
                pool = DescriptorPool(database)
                names = set(database.get_services())
                method = pool.FindServiceByName(messages.SERVICE).methods_by_name["ModelMetadata"]
                request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
                for name in names:
                    assert pool.FindServiceByName(name).methods
                call = channel.unary_unary(
                    f"/{messages.SERVICE}/{method.name}", request.SerializeToString, answer.FromString
                )
                return names, call(request(name="quick"))

        names, found = await asyncio.to_thread(find_and_call)
        assert names == {
            messages.SERVICE,
            PREDICT_SERVICE,
            "inference.Jobs",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        assert [tensor.name for tensor in found.inputs] == ["features"]


async def test_both_versions_of_reflection_say_the_same(tmp_path: Path) -> None:
    mock_model(tmp_path)
    asked = [
        ServerReflectionRequest(list_services=""),
        ServerReflectionRequest(file_containing_symbol=messages.SERVICE),
        ServerReflectionRequest(file_containing_symbol="no.such.Service"),
        ServerReflectionRequest(),
    ]
    async with calling(tmp_path) as caller:
        said = []
        for version in ("v1", "v1alpha"):
            ask: Any = caller.channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                ServerReflectionRequest.SerializeToString,
                ServerReflectionResponse.FromString,
            )
            said.append([answer async for answer in ask(iter(asked))])
    assert said[0] == said[1]
    assert said[0][2].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert said[0][3].error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_reflection_can_be_turned_off(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with calling(tmp_path, reflection=False) as caller:
        for version in ("v1", "v1alpha"):
            ask: Any = caller.channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask().read()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_knows_the_services_and_no_others(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with calling(tmp_path) as caller:
        for name in ("", messages.SERVICE, PREDICT_SERVICE):
            await eventually(lambda: caller.gateway.serves())
            answer = await caller.health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == Health.SERVING
        for name in ("quick", "grpc.health.v1.Health", "x" * 10_000):
            code, sentence, _ = await caller.refusal(
                caller.health.Check(health_pb2.HealthCheckRequest(service=name))
            )
            assert (code, sentence) == ("NOT_FOUND", f"service '{name[:80]}' is unknown")
        watch = caller.health.Watch(health_pb2.HealthCheckRequest(service="quick"))
        assert (await watch.read()).status == Health.SERVICE_UNKNOWN
        watch.cancel()
