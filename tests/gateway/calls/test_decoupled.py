"""Models that give any number of answers: how far they run ahead of a caller, what ends them, and who may ask them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from struct import pack, unpack
from time import monotonic
from typing import Any

import grpc
import pytest
import pytest_asyncio

from inferencehub.core.lane.sink import WINDOW, End, weight_of
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.tensors import Tensor
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, eventually, running_hub, write_model
from tests.machine import slowed
from tests.several_answers import DECOUPLED, counting_model, word

pytestmark = pytest.mark.asyncio(loop_scope="module")

IO = """input { name: "x" data_type: TYPE_INT64 dims: [1] }
    output { name: "y" data_type: TYPE_INT64 dims: [-1] }"""
COUNTERS = ("counter", "async_counter", "batches")
WIDE = 80_000  # characters that are more than a window
ONE = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"] + 1}
"""
FAILS = ONE.replace(
    'return {"y": inputs["x"] + 1}', 'yield {"y": inputs["x"]}\n        raise OSError("lost its file")'
)


CRASHES = ONE.replace(
    'return {"y": inputs["x"] + 1}',
    """for number in (1, 2, 3):
            yield {"y": np.full(5000, number)}  # so that credits come
            time.sleep(0.1)
        os._exit(3)""",
).replace("class Model", "import os, time\nimport numpy as np\n\nclass Model")
# A thread of the model that outlives its call, and goes on asking.
OUTLIVES = """
import threading, time

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs, context):
        def ask():
            while not context.cancelled:
                time.sleep(0.0005)
        threading.Thread(target=ask, daemon=True).start()
        return {"y": inputs["x"].repeat(1)}
"""


class Answers:
    """A front's sink, which delivers answers when `deliver` says so."""

    several = True

    def __init__(self, exchange: Exchange, at_once: bool) -> None:
        self.exchange = exchange
        self.at_once = at_once
        self.parts: list[bytes] = []
        self.weights: list[int] = []
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def part(self, response: InferResponse, weight: int) -> None:
        assert not self.ended.done()
        self.parts.append(bytes(response.outputs[0].data))
        self.weights.append(weight)
        if self.at_once:
            self.deliver()

    def deliver(self) -> None:
        """All answers that have come reach the caller."""
        credit = self.exchange.job.credit if self.exchange.job else None
        assert credit is not None
        while self.weights:
            credit(self.weights.pop(0))

    def end(self, end: End) -> None:
        self.ended.set_result(end)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")

    counting_model(models, "counter")
    counting_model(models, "async_counter", asynchronous=True)
    counting_model(models, "batches", more=f"{DECOUPLED} max_batch_size: 8")
    counting_model(models, "undeclared", more="")
    for name, source in (("one", ONE), ("fails", FAILS), ("crashes", CRASHES)):
        write_model(models, name, f'backend: "python" {DECOUPLED} {IO}', {"1/model.py": source})
    wide = IO.replace("dims: [1]", "dims: [-1]")
    write_model(models, "outlives", f'backend: "python" {wide}', {"1/model.py": OUTLIVES})
    async with running_hub(models, hold_s=20.0) as hub:
        hub.logs = models  # type: ignore[attr-defined]
        yield hub


def begin(
    hub: Hub, model: str, x: int, at_once: bool = True, limit_s: float | None = None, width: int = 0
) -> Answers:
    """Submit one number; a counter's texts get `width` dots."""
    exchange = Exchange("an-id")
    exchange.limit_s = limit_s
    sink = Answers(exchange, at_once)
    shape = (1, 1) if model == "batches" else (1,)
    if model in COUNTERS:
        tensor, parameters = Tensor("count", "INT32", shape, pack("<i", x)), {"width": width}
    else:
        tensor, parameters = Tensor("x", "INT64", shape, pack("<q", x)), {}
    hub.gateway.calls.submit(exchange, InferRequest(model, "", (tensor,), (), parameters), sink)
    return sink


async def ended(sink: Answers) -> End:
    """How a call ended."""
    return await asyncio.wait_for(sink.ended, 30)


def made(hub: Hub, model: str) -> str:
    """What a counter has written last: the number of the answer that it made, or "closed"."""
    logs: Path = hub.logs  # type: ignore[attr-defined]
    return word(logs, model)


def element(number: int, width: int = 0) -> bytes:
    """A counter's answer as it is in its tensor."""
    text = f"{number}{'.' * width}".encode()
    return pack("<I", len(text)) + text


def counted(count: int, width: int = 0) -> list[bytes]:
    """A counter's answers."""
    return [element(number, width) for number in range(1, count + 1)]


def ahead(width: int) -> int:
    """How many answers a counter may make for a caller that takes none."""
    number = weight = 0
    while weight < WINDOW:
        number += 1
        weight += weight_of(len(element(number, width)))
    return number


@pytest.mark.parametrize("model", COUNTERS)
async def test_zero_to_many_answers_come_in_order(hub: Hub, model: str) -> None:
    for x, width in ((1, 0), (500, 0), (20, WIDE), (0, 0)):
        sink = begin(hub, model, x, width=width)
        assert await ended(sink) is None
        assert sink.parts == counted(x, width)


async def test_many_calls_at_once_get_their_own_answers(hub: Hub) -> None:
    sinks = [begin(hub, "batches", x) for x in range(1, 41)]
    assert [await ended(sink) for sink in sinks] == [None] * 40
    assert [sink.parts for sink in sinks] == [counted(x) for x in range(1, 41)]


@pytest.mark.parametrize(("model", "width"), [("counter", 0), ("async_counter", 0), ("counter", WIDE)])
async def test_the_model_waits_for_a_caller_that_does_not_take_its_answers(
    hub: Hub, model: str, width: int
) -> None:
    sink, most = begin(hub, model, 100_000, at_once=False, width=width), ahead(width)
    await eventually(lambda: len(sink.parts) == most)
    await asyncio.sleep(0.3)  # it could have made thousands
    assert (len(sink.parts), made(hub, model)) == (most, str(most))
    sink.deliver()
    await eventually(lambda: len(sink.parts) > most)
    await asyncio.sleep(0.3)
    assert most < len(sink.parts) <= 2 * most
    assert made(hub, model) == str(len(sink.parts))
    sink.exchange.leave()
    await eventually(lambda: made(hub, model) == "closed")
    end = await ended(sink)
    assert isinstance(end, HubError)
    assert end.kind is Kind.CALLER_LEFT
    assert await ended(begin(hub, model, 3)) is None, "the instance is free again"


@pytest.mark.timing
@pytest.mark.parametrize("model", ["counter", "async_counter"])
async def test_a_caller_that_hangs_up_closes_the_generator_within_100_ms(hub: Hub, model: str) -> None:
    took = []
    for _ in range(5):
        sink = begin(hub, model, 10_000_000)
        await eventually(lambda sink=sink: len(sink.parts) > 100)
        began = monotonic()
        sink.exchange.leave()
        await eventually(lambda: made(hub, model) == "closed")
        took.append(monotonic() - began)
        await ended(sink)
    assert sorted(took)[2] < slowed(0.1)


@pytest.mark.timing
async def test_a_model_that_never_ends_holds_up_nobody(hub: Hub) -> None:
    """Both tiers share this event loop: it must have its turns, and see the deadline."""
    turns: list[float] = []

    async def count() -> None:
        while True:
            turns.append(monotonic())
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count())
    sink = begin(hub, "counter", 100_000_000, limit_s=1.0)
    end = await ended(sink)
    counting.cancel()
    assert len(sink.parts) > 3
    assert isinstance(end, HubError)
    assert end.kind is Kind.DEADLINE
    assert max(later - one for one, later in itertools.pairwise(turns)) < slowed(0.5)


async def test_one_answer_that_is_no_generator_is_taken_as_well(hub: Hub) -> None:
    end = await ended(begin(hub, "one", 6))
    assert isinstance(end, InferResponse)
    assert unpack("<q", end.outputs[0].data) == (7,)


async def test_a_failure_behind_answers_says_so_and_its_cause_stays_in_the_log(hub: Hub) -> None:
    sink = begin(hub, "fails", 4)
    end = await ended(sink)
    assert sink.parts == [pack("<q", 4)]
    assert isinstance(end, HubError)
    assert (end.kind, end.detail) == (
        Kind.MODEL_FAILED,
        "model 'fails' failed on this request; its pod's log says why",
    )


async def test_a_process_that_crashes_behind_answers_does_not_run_the_call_again(hub: Hub) -> None:
    sink = begin(hub, "crashes", 1)
    end = await ended(sink)
    assert sink.parts == [pack("<q", number) * 5000 for number in (1, 2, 3)]
    assert isinstance(end, HubError)
    assert end.detail == "model 'crashes': its process ended (exit status 3) while it ran"
    again = begin(hub, "crashes", 1)
    assert isinstance(await ended(again), HubError)
    assert len(again.parts) == 3, "its instance is back"


@pytest.mark.long
async def test_a_thread_that_outlives_its_call_takes_nothing_of_the_next(hub: Hub) -> None:
    for number in range(12):
        x = {"name": "x", "datatype": "INT64", "shape": [300_000], "data": [number] * 300_000}
        status, answer, _ = await hub.post("/v2/models/outlives/infer", {"inputs": [x]})
        assert status == 200, answer
        assert set(answer["outputs"][0]["data"]) == {number}


async def test_a_request_that_no_stream_takes_is_too_large_at_once(tmp_path: Path) -> None:
    config = f'backend: "python" {DECOUPLED} {IO.replace("dims: [1]", "dims: [-1]")}'
    write_model(tmp_path, "wide", config, {"1/model.py": ONE})
    async with running_hub(tmp_path, pod={"max_message_bytes": 100_000}) as hub:
        body = {"x": [0] * 30_000}
        status, answer, _ = await hub.post("/v2/models/wide/generate", body)
        assert (status, "larger" in answer["error"]) == (413, True)
        assert (await hub.post("/v2/models/wide/generate", {"x": [1]}))[0] == 200


async def test_answers_that_are_too_large_for_a_message_only_together_come_one_by_one(tmp_path: Path) -> None:
    counting_model(tmp_path)
    async with running_hub(tmp_path, pod={"max_message_bytes": 20_000}) as hub:
        sink = begin(hub, "counter", 200, width=1000)
        assert await ended(sink) is None
        assert sink.parts == counted(200, 1000)
        sink = begin(hub, "counter", 3, width=20_000)
        end = await ended(sink)
        assert isinstance(end, HubError)
        assert (end.kind, sink.parts) == (Kind.MODEL_FAILED, [])
        assert (
            end.detail == f"model 'counter' gave an answer of {20_000 + 5} bytes, more than the limit 20000"
        )


async def ask(hub: Hub, model: str, name: str = "count", datatype: str = "INT32") -> tuple[int, str]:
    """Status and error of a request that can carry one answer; name and type are those of the model's input."""
    x: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [1], "data": [2]}
    status, body, _ = await hub.post(f"/v2/models/{model}/infer", {"inputs": [x]})
    return status, body["error"]


async def test_calls_that_carry_one_answer_are_refused_before_the_model_runs(hub: Hub) -> None:
    await ended(begin(hub, "counter", 0))
    assert made(hub, "counter") == "closed"
    sentence = (
        "model 'counter' gives several answers, and this call can carry only one; expected generate_stream over HTTP, "
        "or ModelStreamInfer over gRPC"
    )
    assert await ask(hub, "counter") == (501, sentence)
    status, body, _ = await hub.post("/predict", {"features": [2], "model_name": "counter"})
    assert status == 501
    assert body["error"].startswith(
        "/predict cannot serve model 'counter': it gives several answers. It needs"
    )
    assert body["error"].endswith("; use /v2/models/counter/generate_stream")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.pods[0].port}") as channel:
        infer: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString,
        )  # fmt: skip
        request = pb.ModelInferRequest(model_name="counter", raw_input_contents=[pack("<i", 2)])
        request.inputs.add(name="count", datatype="INT32", shape=[1])
        predict: Any = channel.unary_unary(
            "/inference.ModelInference/Predict",
            predict_pb.PredictRequest.SerializeToString, predict_pb.PredictResponse.FromString,
        )  # fmt: skip
        for call, message in (
            (infer, request),
            (predict, predict_pb.PredictRequest(model_name="counter", features=[2])),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(message)
            said = sentence if call is infer else body["error"]
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, said)
    assert made(hub, "counter") == "closed"
    await eventually(lambda: hub.gateway.metrics.in_flight == 0)


async def test_several_answers_that_the_config_does_not_declare_are_the_models_fault(hub: Hub) -> None:
    assert await ask(hub, "undeclared") == (
        500,
        "model 'undeclared' gave several answers, and its config has no model_transaction_policy { decoupled: true }",
    )


async def test_a_backend_that_gives_one_answer_does_not_load_a_decoupled_model(tmp_path: Path) -> None:
    config = f"""backend: "mock" {DECOUPLED} input {{ name: "x" data_type: TYPE_FP32 dims: [1] }}
        output {{ name: "class_id" data_type: TYPE_INT32 dims: [1] }}
        output {{ name: "confidence" data_type: TYPE_FP32 dims: [1] }}"""
    write_model(tmp_path, "mocked", config, {"1/README": ""})
    async with running_hub(tmp_path) as hub:
        status, said = await ask(hub, "mocked", "x", "FP32")
    assert status == 503
    assert "'model_transaction_policy.decoupled', and models of backend 'mock' give one answer" in said
