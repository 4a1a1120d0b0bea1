"""The context of traces on its way to pods, to models, and into the pods' log lines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import inference_pb2 as predict_pb
from tests.collector import Collector, collecting
from tests.gateway.pods.test_foreign import Plain, infer, plain_server
from tests.hub import Hub, eventually, mock_model, running_gateway, write_model
from tests.inference.pod_processes import Pod, calling_pod, predict_of
from tests.written import request_to_proto

TRACE, PARENT, STATE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "one=1,two=2"
CAME = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": STATE}
LEFT_OUT = {**CAME, "traceparent": CAME["traceparent"][:-1] + "0"}
SAYS = """
import time


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs, context):
        time.sleep(0.05)
        if (inputs["x"] < 0).any():
            raise RuntimeError("it takes no such number")
        return {"said": [[f"{context.traceparent} {context.tracestate}"]] * len(inputs["x"])}
"""


def saying_model(repository: Path) -> None:
    """A model that answers with the context that it got."""
    write_model(
        repository,
        "says",
        """backend: "python"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [1] }
        output { name: "said" data_type: TYPE_STRING dims: [1] }
        instance_group { count: 1 kind: KIND_CPU }""",
        {"1/model.py": SAYS},
    )


@asynccontextmanager
async def traced(models: Path, **settings: Any) -> AsyncIterator[tuple[Hub, Pod, Collector]]:
    """Both tiers, and a collector that gets their spans soon."""
    saying_model(models)
    with collecting() as collector:
        chosen = {"otlp_endpoint": collector.url, "bsp_schedule_delay_ms": 50, "hold_s": 10.0, **settings}
        async with calling_pod(models) as pod, running_gateway((pod.address,), **chosen) as gateway:
            await eventually(lambda: ("says", "") in gateway.table.routes)
            (backend,) = gateway.fleet.pods.values()
            await eventually(lambda: backend.up)
            async with aiohttp.ClientSession() as client:
                yield Hub(gateway, [pod.server], client), pod, collector


async def said(hub: Hub, **headers: str) -> tuple[str, str]:
    """The `traceparent` and `tracestate` that the model got."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}
    status, answer, _ = await hub.post("/v2/models/says/infer", body, headers=headers)
    assert status == 200, answer
    parent, _, state = answer["outputs"][0]["data"][0].partition(" ")
    return parent, state


async def test_a_model_gets_the_span_of_its_run(tmp_path: Path) -> None:
    async with traced(tmp_path) as (hub, pod, collector):
        parent, state = await said(hub, **CAME)
        assert (await pod.line())["trace_id"] == TRACE
        await eventually(lambda: collector.named("run says"))
    (run,) = collector.named("run says")
    assert (parent, state) == (f"00-{TRACE}-{run.id}-01", STATE)


async def test_a_trace_that_is_left_out_goes_on_so(tmp_path: Path) -> None:
    async with traced(tmp_path) as (hub, pod, collector):
        parent, state = await said(hub, **LEFT_OUT)
        assert (await pod.line())["trace_id"] == TRACE
    assert (parent[:36], parent[-3:], state) == (f"00-{TRACE}-", "-00", STATE)
    assert not collector.spans


async def test_without_traces_a_model_gets_nothing(tmp_path: Path) -> None:
    async with traced(tmp_path, otlp_endpoint="") as (hub, pod, _):
        assert await said(hub, **CAME) == ("", "")
        assert (await pod.line())["trace_id"] == ""


async def test_a_run_of_several_calls_has_a_trace_of_its_own(tmp_path: Path) -> None:
    """The lines of its pod have the traces of its calls."""
    traces = [f"{number:032x}" for number in range(1, 7)]
    async with traced(tmp_path) as (hub, pod, collector):
        calls = [said(hub, traceparent=f"00-{trace}-{PARENT}-01", tracestate=STATE) for trace in traces]
        got = await asyncio.gather(*calls)
        await eventually(lambda: len(collector.named("POST /v2/models/{model}/infer")) == len(traces))
        await eventually(lambda: any(one.links for one in collector.named("run says")))
        lines = pod.written()
    runs = {f"00-{one.trace_id}-{one.id}-01": one for one in collector.named("run says")}
    several = {parent for parent in runs if runs[parent].links}
    assert several
    assert {parent for parent, _ in got} == several | {p for p in runs if (p, STATE) in got}
    for parent in several:
        assert (parent, "") in got
        assert parent[3:35] not in traces
    assert sorted(one for line in lines for one in line["trace_id"].split(",")) == traces


async def test_a_server_that_is_none_of_ours_gets_the_context_as_metadata() -> None:
    class Listening(Plain):
        metadata: tuple[tuple[str, str], ...] = ()

        async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            self.metadata = context.invocation_metadata()
            return await super().ModelInfer(request, context)

    with collecting() as collector:
        service = Listening(True)
        async with plain_server(service=service) as (_, address):
            chosen = {"otlp_endpoint": collector.url, "bsp_schedule_delay_ms": 50}
            async with running_gateway((address,), **chosen) as gateway:
                await eventually(lambda: gateway.fleet.ready, 60)
                async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}", headers=CAME) as client:
                    assert (await infer(client))[0] == 200
            await eventually(lambda: collector.named("call double"))
    (call,) = collector.named("call double")
    got = dict(service.metadata)
    assert (got["traceparent"], got["tracestate"]) == (f"00-{TRACE}-{call.id}-01", STATE)
    assert not [name for one in service.seen for name in one.parameters]


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (tuple(CAME.items()), (CAME["traceparent"], STATE, TRACE)),
        ((("traceparent", "00-no-parent-01"), ("tracestate", STATE)), ("", "", "")),
        ((), ("", "", "")),
    ],
)
async def test_a_pod_passes_on_what_a_direct_caller_sends(
    tmp_path: Path, sent: tuple[tuple[str, str], ...], got: tuple[str, str, str]
) -> None:
    saying_model(tmp_path)
    async with calling_pod(tmp_path) as pod:
        answer = await pod.infer(asked(1.0), metadata=sent)
        parent, _, state = answer.raw_output_contents[0][4:].decode().partition(" ")
        assert (parent, state, (await pod.line())["trace_id"]) == got


async def test_the_small_predict_has_it_in_its_line(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with calling_pod(tmp_path) as pod:
        message = predict_pb.PredictRequest(model_name="quick", features=[1, 2])
        await predict_of(pod.channel)(message, metadata=tuple(CAME.items()))
        assert (await pod.line())["trace_id"] == TRACE


async def test_the_line_of_a_model_that_failed_names_the_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saying_model(tmp_path)
    async with calling_pod(tmp_path) as pod:
        request = asked(-1.0)
        request.id = "mine"
        with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError):
            await pod.infer(request, metadata=tuple(CAME.items()))
    (record,) = [record for record in caplog.records if record.getMessage() == "model failed"]
    assert (vars(record)["id"], vars(record)["trace_id"]) == ("mine", TRACE)


def asked(number: float) -> Any:
    """A call of the model over gRPC."""
    numbers = {1.0: b"\x00\x00\x80\x3f", -1.0: b"\x00\x00\x80\xbf"}
    return request_to_proto(InferRequest("says", "", (Tensor("x", "FP32", (1, 1), numbers[number]),)))
