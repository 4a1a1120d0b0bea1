"""Models that give several answers over ModelStreamInfer, at the gateway and at the pod. The flags are Triton 2.51's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from struct import pack
from typing import Any

import grpc
import pytest
import pytest_asyncio

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, eventually, running_hub, write_model
from tests.written import request_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """backend: "python"
    model_transaction_policy { decoupled: true }
    instance_group { count: 2 }
    input { name: "x" data_type: TYPE_INT32 dims: [1] }
    output { name: "y" data_type: TYPE_INT32 dims: [1] }
    output { name: "filler" data_type: TYPE_UINT8 dims: [-1] }
    parameters { key: "log" value { string_value: "LOG" } }"""
COUNTER = """
import os, time
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.log = os.open(parameters["log"], os.O_CREAT | os.O_WRONLY)

    def predict(self, inputs, parameters):
        count, made = int(inputs["x"][0]), 0
        filler = np.zeros(parameters.get("filler", 0), np.uint8)
        try:
            for made in range(1, abs(count) + 1):
                self.say(made)
                yield {"y": np.array([made], np.int32), "filler": filler}
                while "go" in parameters and not os.path.exists(parameters["go"]):
                    time.sleep(0.01)
                time.sleep(parameters.get("pause_s", 0))
            if count < 0:
                raise ValueError("it is below zero")
        finally:
            self.say("closed")

    def say(self, word):
        os.pwrite(self.log, f"{word:<10}".encode(), 0)
"""
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
    log = models / "counter.log"
    write_model(models, "counter", CONFIG.replace("LOG", str(log)), {"1/model.py": COUNTER})
    write_model(models, "one", ONE_CONFIG, {"1/model.py": ONE})
    async with running_hub(models, hold_s=20.0) as hub:
        hub.log = log  # type: ignore[attr-defined]
        yield hub


def address(hub: Hub, tier: str) -> str:
    return f"127.0.0.1:{hub.gateway.grpc.port if tier == 'gateway' else hub.pods[0].port}"


def made(hub: Hub) -> str:
    """What the model wrote last: the number of the answer that it made, or "closed"."""
    log: Path = hub.log  # type: ignore[attr-defined]
    return log.read_text().strip()


def count_to(x: int, id: str = "", model: str = "counter", **parameters: Any) -> bytes:
    message = request_to_proto(
        InferRequest(model, "", (Tensor("x", "INT32", (1,), pack("<i", x)),), (), parameters)
    )
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
    final = response.parameters[messages.FINAL].bool_param if messages.FINAL in response.parameters else None
    if answer.error_message:
        return response.id, answer.error_message, final
    if not response.outputs:
        assert (response.model_name, response.model_version) == ("counter", "")
        return response.id, "end", final
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
    go = tmp_path / "go"
    async with grpc.aio.insecure_channel(address(hub, tier)) as channel:
        call = stream_of(channel)()
        for sent in (
            count_to(3, "many", go=str(go)),
            *[count_to(x, f"one {x}", model="one") for x in range(1, 6)],
            count_to(2, "more"),
        ):
            await call.write(sent)
        await call.done_writing()
        found = [shown(await call.read()) for _ in range(8)]  # all but two of the first
        go.touch()
        found += [shown(await call.read()) for _ in range(2)]
        assert await call.read() is grpc.aio.EOF
    by_id = {id: [number for other, number, _ in found if other == id] for id, _, _ in found}
    assert by_id == {"many": [1, 2, 3], "more": [1, 2], **{f"one {x}": [10 * x] for x in range(1, 6)}}
    assert [number for id, number, _ in found if id.startswith("one")] == [10, 20, 30, 40, 50]
    assert found[-2:] == [("many", 2, False), ("many", 3, False)], "it does not hold up the others"


@pytest.mark.parametrize("tier", TIERS)
async def test_the_first_answer_comes_before_the_second_is_made(hub: Hub, tier: str) -> None:
    async with grpc.aio.insecure_channel(address(hub, tier)) as channel:
        call = stream_of(channel)()
        await call.write(count_to(2, pause_s=0.5))
        assert shown(await call.read()) == ("", 1, False)
        assert made(hub) == "1"
        await call.done_writing()
        assert shown(await call.read()) == ("", 2, False)
        assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize("tier", TIERS)
async def test_a_reader_that_stops_holds_the_model_and_one_that_leaves_closes_it(hub: Hub, tier: str) -> None:
    async with grpc.aio.insecure_channel(address(hub, tier)) as channel:
        call = stream_of(channel)()
        await call.write(count_to(1_000_000, filler=10_000))
        assert shown(await call.read()) == ("", 1, False)

        async def rests() -> bool:
            before = made(hub)
            await asyncio.sleep(0.5)
            return before == made(hub)

        async with asyncio.timeout(30):
            while not await rests():
                pass
        resting = int(made(hub))
        assert resting < 3_000, "what the connection holds, and a window"
        async with asyncio.timeout(30):
            read = 1
            while int(made(hub)) == resting:
                read += 1
                assert shown(await call.read()) == ("", read, False)
        call.cancel()
        await eventually(lambda: made(hub) == "closed")
    assert await ask(address(hub, tier), count_to(1)) == [("", 1, False)]


@pytest.mark.parametrize("tier", TIERS)
async def test_many_streams_at_once_are_whole_and_not_mixed(hub: Hub, tier: str) -> None:
    async def one(number: int) -> list[tuple[str, int | str, bool | None]]:
        return await ask(address(hub, tier), count_to(50, f"s{number}"))

    size = 100 if tier == "gateway" else 4  # a pod refuses more than it has room for
    answers = await asyncio.gather(*[one(number) for number in range(size)])
    assert answers == [[(f"s{number}", n, False) for n in range(1, 51)] for number in range(size)]
