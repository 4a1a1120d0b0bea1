"""What is left at a pod of direct callers' calls that were refused, and what ends when their key is withdrawn."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from inferencehub.core.grpc_server.connections.memory import memory
from inferencehub.core.grpc_server.streams.owned import MOST_OF_ONE
from inferencehub.core.oip import messages
from inferencehub.inference.server import STREAM_S
from inferencehub.pb import open_inference_pb2 as pb
from tests.authority import Authority
from tests.cycles import without_collector
from tests.gateway.keyed_hub import entry, failure
from tests.hub import eventually
from tests.several_answers import count_to, counting_model
from tests.tier_tls.direct_callers import HEALTH, key, pod_with_keys, reflection, shown, write_keys
from tests.tier_tls.secure_tiers import Secrets

LARGE = b"\xff" * 2**22


def watch(channel: Any, data: bytes, **more: Any) -> Any:
    """A Watch of a pod's health."""
    call = channel.unary_stream(f"/{HEALTH}/Watch", None, health_pb2.HealthCheckResponse.FromString)
    return call(data, **more)


async def failure_or_status(call: Any) -> str:
    """The first status of a Watch, or the code that it ends with."""
    try:
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name((await call.read()).status))
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)


QUICK = health_pb2.HealthCheckRequest(service="quick").SerializeToString()


@pytest.mark.parametrize("headers", [(), key("all")], ids=["no-key", "no-message"])
async def test_nothing_is_left_of_a_refused_call(
    tmp_path: Path, secrets: Secrets, authority: Authority, headers: Any
) -> None:
    """Its message, above all: a caller could fill the memory with them until the collector comes."""
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        infer = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")

        async def refused(times: int) -> set[str]:
            """The codes of calls that are refused."""
            codes = set()
            for number in range(times):
                call = infer if number % 2 else partial(watch, channel)
                try:
                    await (
                        call(LARGE, metadata=headers) if number % 2 else call(LARGE, metadata=headers).read()
                    )
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code().name)
            return codes

        with without_collector():
            await refused(8)
            before = memory()
            assert await refused(60) == {"INVALID_ARGUMENT" if headers else "UNAUTHENTICATED"}
            after = memory()
        assert before is not None
        assert after is not None
        assert after - before < 20 * len(LARGE)


async def test_a_caller_may_have_so_many_watches(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        calls = [watch(channel, QUICK, metadata=key("asks")) for _ in range(MOST_OF_ONE)]
        for call in calls:
            assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        refused = f"key 'asks' has {MOST_OF_ONE} streams open, which is the most"
        again = failure(watch(channel, QUICK, metadata=key("asks")).read())
        assert await again == ("RESOURCE_EXHAUSTED", refused)
        assert (await watch(channel, QUICK, metadata=key("all")).read()).status == 1
        async with shown(pod, authority, "gateway") as gateway:
            for _ in range(MOST_OF_ONE + 1):
                assert (await watch(gateway, QUICK).read()).status == 1
        for call in calls:
            call.cancel()

        async with asyncio.timeout(10):  # until the pod knows that they have ended
            while (await failure_or_status(watch(channel, QUICK, metadata=key("asks")))) != "SERVING":
                pass


async def test_all_streams_end_when_their_key_is_withdrawn(
    tmp_path: Path, secrets: Secrets, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    counting_model(tmp_path / "models", instances=2)
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        health = watch(channel, QUICK, metadata=key("all"))
        await health.read()
        names = reflection(channel)(metadata=key("all"))
        await names.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await names.read()
        answers = channel.stream_stream(messages.STREAM_METHOD, None, pb.ModelStreamInferResponse.FromString)
        counted = answers(metadata=key("all"))
        await counted.write(count_to(1000, "7", pause_s=0.1))
        await counted.read()
        with caplog.at_level(logging.INFO):
            write_keys(tmp_path / "keys.json", entry("few"))
            await eventually(lambda: health.done() and names.done())
            refused = ("UNAUTHENTICATED", "the key is unknown")
            assert [(await call.code()).name for call in (health, names)] == [refused[0]] * 2
            assert [await call.details() for call in (health, names)] == [refused[1]] * 2

            async def read_all() -> None:
                while await counted.read() is not grpc.aio.EOF:
                    pass

            assert await failure(read_all()) == refused
        lines = [vars(one) for one in caplog.records if one.getMessage() == "refused"]
        assert {line["reason"] for line in lines} == {"the key is unknown"}
        assert len(lines) >= 3


async def test_an_answer_ends_when_its_key_may_use_the_model_no_longer(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    counting_model(tmp_path / "models")
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        answers = channel.stream_stream(messages.STREAM_METHOD, None, pb.ModelStreamInferResponse.FromString)
        stream = answers(metadata=key("all"))
        await stream.write(count_to(1000, "7", pause_s=0.1))
        await stream.read()
        write_keys(tmp_path / "keys.json", entry("all", models=["quick"]))
        while not (answer := await stream.read()).error_message:
            pass
        assert answer.error_message == "key 'all' may not use model 'counter'"
        stream.cancel()


async def test_a_stream_of_a_direct_caller_is_opened_again_now_and_then(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    """Its certificate was good when the connection was made, and may have expired since then."""
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        assert pod.streams._longest_s == STREAM_S
        pod.streams._longest_s = 1.0
        stream = channel.stream_stream(f"/{messages.SERVICE}/ModelStreamInfer")(metadata=key("all"))
        code, said = await failure(stream.read())
        assert (code, said[:28]) == ("UNAVAILABLE", "the server ends the stream; ")
        assert stream.done()
