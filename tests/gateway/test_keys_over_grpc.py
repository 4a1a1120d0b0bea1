"""API keys over gRPC: who gets in by its methods and streams, and what the others read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.grpc_server.streams.owned import MOST_OF_ONE
from inferencehub.core.oip import messages
from inferencehub.pb import inference_pb2 as small
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.keyed_hub import BAD, NO_KEY, bearer, failure, hub_with_keys, over_grpc
from tests.hub import Hub
from tests.inference.pod_processes import features

SERVICE = messages.SERVICE
METHODS: dict[str, tuple[Any, Any, Any]] = {
    "ModelInfer": (features("quick", 1.0, 2.0), pb.ModelInferRequest, pb.ModelInferResponse),
    "inference.ModelInference/Predict": (
        small.PredictRequest(features=[1.0, 2.0], model_name="quick"), small.PredictRequest, small.PredictResponse
    ),
    "ServerMetadata": (pb.ServerMetadataRequest(), pb.ServerMetadataRequest, pb.ServerMetadataResponse),
    "ModelReady": (pb.ModelReadyRequest(name="quick"), pb.ModelReadyRequest, pb.ModelReadyResponse),
    "ModelMetadata": (pb.ModelMetadataRequest(name="quick"), pb.ModelMetadataRequest, pb.ModelMetadataResponse),
    "ModelConfig": (pb.ModelConfigRequest(name="quick"), pb.ModelConfigRequest, pb.ModelConfigResponse),
    "ModelStatistics": (pb.ModelStatisticsRequest(name="quick"), pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
    "RepositoryIndex": (pb.RepositoryIndexRequest(), pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
    "LogSettings": (pb.LogSettingsRequest(), pb.LogSettingsRequest, pb.LogSettingsResponse),
    "TraceSetting": (pb.TraceSettingRequest(), pb.TraceSettingRequest, pb.TraceSettingResponse),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_of_grpc_asks_for_a_key(tmp_path: Path, method: str) -> None:
    message, asked, answered = METHODS[method]
    async with hub_with_keys(tmp_path) as hub, over_grpc(hub, method, asked, answered) as ask:
        for what, (headers, status, said) in BAD.items():
            if status == 401:
                code, found = await failure(ask(message, metadata=headers.items()))
                assert (code, found[: len(said)]) == ("UNAUTHENTICATED", said), what
        await ask(message, metadata=bearer("all").items())
        if any(field.name in ("name", "model_name") for field in message.DESCRIPTOR.fields):
            field = "name" if "name" in message.DESCRIPTOR.fields_by_name else "model_name"
            hidden = type(message).FromString(message.SerializeToString())
            setattr(hidden, field, "hidden")
            refused = ("PERMISSION_DENIED", "key 'few' may not use model 'hidden'")
            assert await failure(ask(hidden, metadata=bearer("few").items())) == refused
        if method in ("ModelInfer", "inference.ModelInference/Predict"):
            said = "key 'asks' may not infer, it may describe"
            assert await failure(ask(message, metadata=bearer("asks").items())) == ("PERMISSION_DENIED", said)


async def test_probes_over_grpc_are_open(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        async with over_grpc(hub, "ServerLive", pb.ServerLiveRequest, pb.ServerLiveResponse) as ask:
            assert (await ask(pb.ServerLiveRequest())).live
        async with over_grpc(hub, "ServerReady", pb.ServerReadyRequest, pb.ServerReadyResponse) as ask:
            assert (await ask(pb.ServerReadyRequest())).ready


async def test_bytes_that_are_no_message_get_401_before_anybody_reads_them(tmp_path: Path) -> None:
    async with (
        hub_with_keys(tmp_path) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        call: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        assert await failure(call(b"\xff\xff")) == ("UNAUTHENTICATED", NO_KEY)
        code, _ = await failure(call(b"\xff\xff", metadata=bearer("all").items()))
        assert code == "INVALID_ARGUMENT"


async def opened(hub: Hub, headers: dict[str, str]) -> None:
    """A stream on which nothing is sent."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        open_stream: Any = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        stream = open_stream(metadata=tuple(headers.items()), timeout=20)
        await stream.read()


async def streamed(hub: Hub, headers: dict[str, str], model: str) -> pb.ModelStreamInferResponse:
    """The answer to the one request of a stream."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        open_stream: Any = channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        stream = open_stream(metadata=tuple(headers.items()))
        await stream.write(features(model, 1.0, 2.0, id="7"))
        answer: pb.ModelStreamInferResponse = await stream.read()
        await stream.done_writing()
        return answer


async def test_a_stream_without_a_key_is_not_opened_and_each_request_is_checked(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        assert await failure(opened(hub, {})) == ("UNAUTHENTICATED", NO_KEY)
        assert (await failure(opened(hub, bearer("old"))))[0] == "UNAUTHENTICATED"
        assert (await failure(opened(hub, bearer("asks"))))[0] == "PERMISSION_DENIED"
        assert "may not use model 'hidden'" in (await streamed(hub, bearer("few"), "hidden")).error_message
        answer = await streamed(hub, bearer("few"), "quick")
        assert (answer.error_message, answer.infer_response.id) == ("", "7")


async def test_one_key_cannot_take_all_streams(tmp_path: Path) -> None:
    async with (
        hub_with_keys(tmp_path) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        open_stream: Any = channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelStreamInferResponse.FromString,
        )
        streams = [open_stream(metadata=tuple(bearer("few").items())) for _ in range(MOST_OF_ONE)]
        for stream in streams:
            await stream.write(features("quick", 1.0, id="7"))
            assert (await stream.read()).infer_response.id == "7"
        said = f"key 'few' has {MOST_OF_ONE} streams open, which is the most"
        assert await failure(opened(hub, bearer("few"))) == ("RESOURCE_EXHAUSTED", said)
        assert (await streamed(hub, bearer("all"), "quick")).infer_response.id == "7"
        streams[0].cancel()
        for _ in range(600):
            answer = await streamed_or_refused(hub, "few")
            if answer:
                break
            await asyncio.sleep(0.05)
        assert answer


async def streamed_or_refused(hub: Hub, name: str) -> bool:
    """Whether a stream is answered."""
    try:
        return (await streamed(hub, bearer(name), "quick")).infer_response.id == "7"
    except grpc.aio.AioRpcError:
        return False
