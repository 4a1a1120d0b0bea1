"""Models that give any number of answers: how far they run ahead of a caller, what ends them, and who may ask them."""

from __future__ import annotations

import asyncio
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

pytestmark = pytest.mark.asyncio(loop_scope="module")

IO = """input { name: "x" data_type: TYPE_INT64 dims: [1] }
    output { name: "y" data_type: TYPE_INT64 dims: [-1] }
    parameters { key: "log" value { string_value: "LOG" } }"""
DECOUPLED = "model_transaction_policy { decoupled: true }"
# Counts to x in answers of 8 bytes; to -x in answers of 80,000 bytes.
COUNTER = """
import os
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.log = os.open(parameters["log"], os.O_CREAT | os.O_WRONLY)

    ASYNC def predict(self, inputs, context):
        count, width = abs(int(inputs["x"].ravel()[0])), 1 if inputs["x"].ravel()[0] > 0 else 10_000
        made = 0
        try:
            self.say("began")
            for made in range(1, count + 1):
                self.say(made)
                yield {"y": np.full(SHAPE, made)}
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
        self.parts: list[tuple[int, int]] = []  # an answer's first number, and how many it has
        self.weights: list[int] = []
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def part(self, response: InferResponse, weight: int) -> None:
        assert not self.ended.done()
        numbers = unpack(f"<{len(response.outputs[0].data) // 8}q", response.outputs[0].data)
        assert len(set(numbers)) == 1
        self.parts.append((numbers[0], len(numbers)))
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

    def add(name: str, source: str, more: str = DECOUPLED) -> None:
        config = f'backend: "python" {more} {IO}'.replace("LOG", str(models / f"{name}.log"))
        write_model(models, name, config, {"1/model.py": source})

    plain = COUNTER.replace("ASYNC ", "").replace("SHAPE", "width")
    add("counter", plain)
    add("async_counter", COUNTER.replace("ASYNC", "async").replace("SHAPE", "width"))
    add(
        "batches",
        plain.replace("width)", "(1, width))").replace("SHAPE", "x"),
        f"{DECOUPLED} max_batch_size: 8",
    )
    add("undeclared", plain, "")
    add("one", ONE)
    add("fails", FAILS)
    add("crashes", CRASHES)
    wide = IO.replace("dims: [1]", "dims: [-1]")
    write_model(models, "outlives", f'backend: "python" {wide}', {"1/model.py": OUTLIVES})
    async with running_hub(models, hold_s=20.0) as hub:
        hub.logs = models  # type: ignore[attr-defined]
        yield hub


def begin(hub: Hub, model: str, x: int, at_once: bool = True) -> Answers:
    """Submit one number."""
    exchange = Exchange("an-id")
    sink = Answers(exchange, at_once)
    shape = (1, 1) if model == "batches" else (1,)
    hub.gateway.calls.submit(
        exchange, InferRequest(model, "", (Tensor("x", "INT64", shape, pack("<q", x)),)), sink
    )
    return sink


async def ended(sink: Answers) -> End:
    """How a call ended."""
    return await asyncio.wait_for(sink.ended, 30)


def made(hub: Hub, model: str) -> str:
    """What the model has written last: the number of the answer that it made, or "closed"."""
    file: Path = hub.logs / f"{model}.log"  # type: ignore[attr-defined]
    return file.read_text().strip()


@pytest.mark.parametrize("model", ["counter", "async_counter", "batches"])
async def test_zero_to_many_answers_come_in_order(hub: Hub, model: str) -> None:
    for x, width in ((1, 1), (500, 1), (-20, 10_000)):
        sink = begin(hub, model, x)
        assert await ended(sink) is None
        assert sink.parts == [(number, width) for number in range(1, abs(x) + 1)]
    sink = begin(hub, model, 0)
    assert await ended(sink) is None
    assert sink.parts == []


async def test_many_calls_at_once_get_their_own_answers(hub: Hub) -> None:
    sinks = [begin(hub, "batches", x) for x in range(1, 41)]
    assert [await ended(sink) for sink in sinks] == [None] * 40
    assert [sink.parts for sink in sinks] == [[(n, 1) for n in range(1, x + 1)] for x in range(1, 41)]


@pytest.mark.parametrize(
    ("model", "x", "ahead"),
    [
        ("counter", 100_000, -(-WINDOW // weight_of(8))),
        ("async_counter", 100_000, -(-WINDOW // weight_of(8))),
        ("counter", -100, 1),
    ],
)
async def test_the_model_waits_for_a_caller_that_does_not_take_its_answers(
    hub: Hub, model: str, x: int, ahead: int
) -> None:
    sink = begin(hub, model, x, at_once=False)
    await eventually(lambda: len(sink.parts) == ahead)
    await asyncio.sleep(0.3)  # it could have made thousands
    assert (len(sink.parts), made(hub, model)) == (ahead, str(ahead))
    sink.deliver()
    await eventually(lambda: len(sink.parts) > ahead)
    await asyncio.sleep(0.3)
    assert ahead < len(sink.parts) <= 2 * ahead
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
    assert sorted(took)[2] < 0.1


async def test_one_answer_that_is_no_generator_is_taken_as_well(hub: Hub) -> None:
    end = await ended(begin(hub, "one", 6))
    assert isinstance(end, InferResponse)
    assert unpack("<q", end.outputs[0].data) == (7,)


async def test_a_failure_behind_answers_says_so_and_its_cause_stays_in_the_log(hub: Hub) -> None:
    sink = begin(hub, "fails", 4)
    end = await ended(sink)
    assert sink.parts == [(4, 1)]
    assert isinstance(end, HubError)
    assert (end.kind, end.detail) == (
        Kind.MODEL_FAILED,
        "model 'fails' failed on this request; its pod's log says why",
    )


async def test_a_process_that_crashes_behind_answers_does_not_run_the_call_again(hub: Hub) -> None:
    sink = begin(hub, "crashes", 1)
    end = await ended(sink)
    assert sink.parts == [(1, 5000), (2, 5000), (3, 5000)]
    assert isinstance(end, HubError)
    assert end.detail == "model 'crashes': its process ended (exit status 3) while it ran"


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


async def ask(hub: Hub, model: str) -> tuple[int, str]:
    """Status and error of a request that can carry one answer."""
    x: dict[str, Any] = {"name": "x", "datatype": "INT64", "shape": [1], "data": [2]}
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
        request = pb.ModelInferRequest(model_name="counter", raw_input_contents=[pack("<q", 2)])
        request.inputs.add(name="x", datatype="INT64", shape=[1])
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
        status, said = await ask(hub, "mocked")
    assert status == 503
    assert "'model_transaction_policy.decoupled', and models of backend 'mock' give one answer" in said
