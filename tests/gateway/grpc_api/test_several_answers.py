"""Models that give several answers over ModelStreamInfer, at the gateway and at the pod. The flags are Triton 2.51's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from struct import pack
from typing import Any

import grpc
import pytest
import pytest_asyncio

from inferencehub.core.oip import messages, stream_messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, running_hub, write_model
from tests.several_answers import count_to, counting_model, text_of
from tests.written import request_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": 10 * inputs["x"]}
"""
ONE_CONFIG = """backend: "python"
    input { name: "x" data_type: TYPE_INT32 dims: [1] }
    output { name: "y" data_type: TYPE_INT32 dims: [1] }"""
TIERS = ("gateway", "pod")
WANT_END: dict[str, Any] = {"triton_enable_empty_final_response": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    counting_model(models, instances=2)
    write_model(models, "one", ONE_CONFIG, {"1/model.py": ONE})
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


def address(hub: Hub, tier: str) -> str:
    return f"127.0.0.1:{hub.gateway.grpc.port if tier == 'gateway' else hub.pods[0].port}"


def double(x: int, id: str) -> bytes:
    """A request to the model `one`."""
    message = request_to_proto(InferRequest("one", "", (Tensor("x", "INT32", (1,), pack("<i", x)),)))
    message.id = id
    return message.SerializeToString()


def stream_of(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(messages.STREAM_METHOD, None, pb.ModelStreamInferResponse.FromString)


async def ask(address: str, *sent: bytes) -> list[tuple[str, int | str, bool | None]]:
    """The messages of a stream: id; the number, "end" or the error; the final flag."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = stream_of(channel)(iter(sent))
        found = [shown(answer) async for answer in call]
        assert await call.code() is grpc.StatusCode.OK
        return found


def shown(answer: Any) -> tuple[str, int | str, bool | None]:
    response = answer.infer_response
    final = (
        response.parameters[stream_messages.FINAL].bool_param
        if stream_messages.FINAL in response.parameters
        else None
    )
    if answer.error_message:
        return response.id, answer.error_message, final
    if not response.outputs:
        assert (response.model_name, response.model_version) == ("counter", "")
        return response.id, "end", final
    if response.model_name == "counter":
        return response.id, int(text_of(response)), final
    return response.id, int.from_bytes(response.raw_output_contents[0], "little"), final


@pytest.mark.parametrize("tier", TIERS)
async def test_answers_come_one_by_one_with_the_flags_of_triton(hub: Hub, tier: str) -> None:
    to = address(hub, tier)
    assert await ask(to, count_to(3, "a")) == [("a", 1, False), ("a", 2, False), ("a", 3, False)]
    assert await ask(to, count_to(2, "a", **WANT_END)) == [
        ("a", 1, False),
        ("a", 2, False),
        ("a", "end", True),
    ]
    assert await ask(to, count_to(0, "a")) == []
    assert await ask(to, count_to(0, "a", **WANT_END)) == [("a", "end", True)]
    said = "model 'counter': it is below zero"
    assert await ask(to, count_to(-1, "a")) == [("a", 1, False), ("a", said, True)]
    assert await ask(to, count_to(-1, "a", **WANT_END)) == [
        ("a", 1, False),
        ("a", said, True),
        ("a", "end", True),
    ]


@pytest.mark.parametrize("tier", TIERS)
async def test_requests_of_both_kinds_share_a_stream(hub: Hub, tier: str, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    async with grpc.aio.insecure_channel(address(hub, tier)) as channel:
        call = stream_of(channel)()
        for sent in (
            count_to(3, "many", steps=str(steps)),
            *[double(x, f"one {x}") for x in range(1, 6)],
            count_to(2, "more"),
        ):
            await call.write(sent)
        await call.done_writing()
        found = [shown(await call.read()) for _ in range(8)]  # all but two of the first
        steps.write_bytes(b"..")
        found += [shown(await call.read()) for _ in range(2)]
        assert await call.read() is grpc.aio.EOF
    by_id = {id: [number for other, number, _ in found if other == id] for id, _, _ in found}
    assert by_id == {"many": [1, 2, 3], "more": [1, 2], **{f"one {x}": [10 * x] for x in range(1, 6)}}
    assert [number for id, number, _ in found if id.startswith("one")] == [10, 20, 30, 40, 50]
    assert found[-2:] == [("many", 2, False), ("many", 3, False)], "it does not hold up the others"
