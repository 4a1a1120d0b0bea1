"""Deadlines of gRPC: they are the call's, and a call that reaches its own is late; its caller has not left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from inferencehub.core.oip import messages
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.grpc_api.calling import Caller, calling, calling_gateway
from tests.hub import eventually, mock_model
from tests.inference.pod_processes import features
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models, "stuck", delay_ms=60_000, slots=1)
    async with calling(models) as caller:
        yield caller


def counted(caller: Caller, status: int, model: str = "") -> float:
    """How many calls over gRPC ended with a status of HTTP."""
    labels = {"front": "grpc", "model": model, "status": str(status)}
    name = "inferencehub_gateway_request_seconds_count"
    return caller.gateway.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_deadline_of_grpc_is_the_one_deadline(caller: Caller) -> None:
    caller.written()
    code, _, _ = await caller.refusal(caller.infer(features("stuck", 1), timeout=0.2))
    assert code == "DEADLINE_EXCEEDED"
    line = await caller.line()
    assert (line["kind"], line["status"], line["code"]) == ("deadline", 504, "DEADLINE_EXCEEDED")
    lane = caller.gateway.table.routes[("stuck", "")][0].lane
    await eventually(lambda: lane.idle)


@pytest.mark.parametrize("name", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
async def test_a_question_that_waits_until_its_deadline_is_late_and_nobody_has_left(name: str) -> None:
    async with calling_gateway((f"127.0.0.1:{free_port()}",), on_demand_models=("pool/later:1",)) as caller:
        request = getattr(pb, f"{name}Request")(name="later").SerializeToString()
        ask = caller.method(name, getattr(pb, f"{name}Response"))
        code, _, _ = await caller.refusal(ask(request, timeout=0.5))
        assert code == "DEADLINE_EXCEEDED"
        line = await caller.line()
        assert (line["kind"], line["status"], line["code"]) == ("deadline", 504, "DEADLINE_EXCEEDED")
        assert (counted(caller, 504), counted(caller, 499)) == (1, 0)
        for limit in (None, 60):
            call = ask(request, timeout=limit)
            await eventually(lambda: caller.gateway.metrics.in_flight == 1)
            call.cancel()
            line = await caller.line()
            assert (line["kind"], line["status"], line["code"]) == ("caller_left", 499, "CANCELLED")
        assert (counted(caller, 504), counted(caller, 499)) == (1, 2)


async def test_a_stream_that_runs_until_its_deadline_is_late(caller: Caller) -> None:
    caller.written()
    stream: Any = caller.channel.stream_stream(messages.STREAM_METHOD)
    before = counted(caller, 504, "stuck"), counted(caller, 499, "stuck")
    call = stream(timeout=0.5)
    await call.write(features("stuck", 1).SerializeToString())
    assert (await call.code()).name == "DEADLINE_EXCEEDED"
    line = await caller.line()
    assert (line["kind"], line["status"], line["code"]) == ("deadline", 504, "DEADLINE_EXCEEDED")
    call = stream(timeout=60)
    await call.write(features("stuck", 1).SerializeToString())
    await eventually(lambda: caller.gateway.metrics.in_flight == 1)
    call.cancel()
    line = await caller.line()
    assert (line["kind"], line["status"], line["code"]) == ("caller_left", 499, "CANCELLED")
    assert (counted(caller, 504, "stuck"), counted(caller, 499, "stuck")) == (before[0] + 1, before[1] + 1)


async def test_predict_has_the_deadline_too(caller: Caller) -> None:
    caller.written()
    ask = predict_pb.PredictRequest(features=[1], model_name="stuck")
    code, _, _ = await caller.refusal(caller.predict(ask, timeout=0.3))
    assert code == "DEADLINE_EXCEEDED"
    line = await caller.line()
    assert (line["kind"], line["method"], line["code"]) == ("deadline", "Predict", "DEADLINE_EXCEEDED")
