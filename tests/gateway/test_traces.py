"""Traces of calls, as a collector gets them: through the front doors of both tiers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.pb import inference_pb2 as pb
from tests.collector import Collector, collecting, facts_of
from tests.gateway.grpc_api.calling import calling
from tests.hub import Hub, eventually, mock_model, running_hub, write_model
from tests.inference.pod_processes import features

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CAME = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
BODY = {"model_name": "quick", "features": [1, 2, 3]}
ROUTE = "POST /v2/models/{model}/infer"
PICKY = """
import time


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        time.sleep(0.1)
        if (inputs["x"] < 0).any():
            raise RuntimeError("it takes no such number")
        return {"y": inputs["x"]}
"""


def picky_model(repository: Path) -> None:
    """A model that fails on a negative number, and every run with one."""
    write_model(
        repository,
        "picky",
        """backend: "python"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [1] }
        output { name: "y" data_type: TYPE_FP32 dims: [1] }
        instance_group { count: 1 kind: KIND_CPU }""",
        {"1/model.py": PICKY},
    )


async def picked(hub: Hub, number: float, **headers: str) -> tuple[int, str]:
    """Status and pod of a call of this model."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}]}
    status, _, answered = await hub.post("/v2/models/picky/infer", body, headers=headers)
    return status, answered.get("x-served-by", "")


@asynccontextmanager
async def traced(models: Path, **settings: Any) -> AsyncIterator[tuple[Hub, Collector]]:
    """Both tiers, and a collector that gets their spans soon."""
    with collecting() as collector:
        chosen = {"otlp_endpoint": collector.url, "bsp_schedule_delay_ms": 50, **settings}
        async with running_hub(models, **chosen) as hub:
            yield hub, collector


async def test_a_call_is_one_trace_through_both_tiers(tmp_path: Path) -> None:
    mock_model(tmp_path, delay_ms=20)
    async with traced(tmp_path) as (hub, collector):
        status, _, headers = await hub.post("/predict", BODY, headers=CAME)
        assert status == 200
        await eventually(lambda: len(collector.spans) >= 5)
    spans = collector.of(TRACE)
    call = spans["gateway: POST /predict"]
    assert call.parent == PARENT
    assert call.facts == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/predict",
        "url.path": "/predict",
        "inferencehub.model": "quick",
        "inferencehub.request.id": headers["x-request-id"],
    }
    queue, sent = spans["gateway: queue"], spans["gateway: call quick"]
    assert (queue.parent, sent.parent) == (call.id, call.id)
    assert sent.facts["server.port"] == hub.pods[0].port
    waited, ran = spans["inference: queue"], spans["inference: run quick"]
    assert (waited.parent, ran.parent) == (sent.id, sent.id)
    assert ran.instance == headers["x-served-by"]
    inside = [call, sent, ran]
    for outer, inner in pairwise(inside):
        assert outer.span.start_time_unix_nano <= inner.span.start_time_unix_nano
        assert inner.span.end_time_unix_nano <= outer.span.end_time_unix_nano
    assert ran.span.end_time_unix_nano - ran.span.start_time_unix_nano >= 20e6
    assert len(spans) == 5


async def test_a_call_that_fails_is_kept_whatever_was_decided(tmp_path: Path) -> None:
    """With the run of the pod; one that goes well is not."""
    picky_model(tmp_path)
    mock_model(tmp_path)
    async with traced(tmp_path, traces_sampler="always_off") as (hub, collector):
        assert (await hub.post("/predict", BODY))[0] == 200
        parent = CAME["traceparent"][:-2] + "00"
        status, pod = await picked(hub, -1, traceparent=parent, tracestate="one=1,two=2")
        assert status == 500
        await eventually(lambda: len(collector.spans) >= 5)
    spans = collector.of(TRACE)
    call = spans[f"gateway: {ROUTE}"]
    assert len(collector.spans) == len(spans) == 5
    assert call.span.trace_state == "one=1,two=2"
    assert call.facts["error.type"] == "model_failed"
    assert call.facts["url.path"] == "/v2/models/picky/infer"
    assert [one.failed for one in spans.values()] == [not name.endswith("queue") for name in spans]
    assert spans["inference: run picky"].instance == pod


async def test_a_slow_call_is_kept(tmp_path: Path) -> None:
    mock_model(tmp_path)
    mock_model(tmp_path, "slow", delay_ms=300)
    async with traced(tmp_path, traces_sampler="always_off", trace_slow_ms=250) as (hub, collector):
        assert (await hub.post("/predict", BODY))[0] == 200
        assert (await hub.post("/predict", {**BODY, "model_name": "slow"}))[0] == 200
        await eventually(lambda: len(collector.spans) >= 5)
    assert {one.facts.get("inferencehub.model", "slow") for one in collector.spans} == {"slow"}


async def test_calls_that_ran_together_have_links_to_their_run_and_it_to_them(tmp_path: Path) -> None:
    picky_model(tmp_path)
    async with traced(tmp_path) as (hub, collector):
        answers = await asyncio.gather(*[picked(hub, number) for number in range(12)])
        assert {status for status, _ in answers} == {200}
        await eventually(lambda: len(collector.named(ROUTE)) == 12)
        await eventually(lambda: any(one.links for one in collector.named("run picky")))
    runs = {(one.trace_id, one.id): one for one in collector.named("run picky") if not one.parent}
    calls = {(one.trace_id, one.id): one for one in collector.named("call picky")}
    members = {key: one for key, one in calls.items() if one.links}
    assert members
    assert set().union(*(one.links for one in members.values())) == runs.keys()
    assert set().union(*(one.links for one in runs.values())) == members.keys()
    for key, run in runs.items():
        assert run.facts["inferencehub.batch.rows"] == len(run.links)
        assert {one for one in members if key in members[one].links} == run.links


async def test_a_run_without_an_answer_is_an_event_of_its_calls(tmp_path: Path) -> None:
    """What fails together runs again apart."""
    picky_model(tmp_path)
    async with traced(tmp_path) as (hub, collector):
        answers = await asyncio.gather(*[picked(hub, number) for number in (1, 1, 1, 1, -1, 1, 1)])
        assert [status for status, _ in answers] == [200, 200, 200, 200, 500, 200, 200]
        await eventually(lambda: len(collector.named(ROUTE)) == 7)
    events = [event for one in collector.spans for event in one.span.events]
    assert events
    for event in events:
        assert event.name == "retry"
        assert facts_of(event.attributes)["inferencehub.outcome"] == "failed"


async def test_a_call_over_grpc_is_a_trace_with_the_conventions_for_rpc(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with traced(tmp_path) as (hub, collector):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
            predict: Any = channel.unary_unary("/inference.ModelInference/Predict")
            message = pb.PredictRequest(model_name="quick", features=[1, 2, 3])
            states = (("tracestate", "a=1"), ("tracestate", "b=2"))
            await predict(message.SerializeToString(), metadata=(*CAME.items(), *states))
            unknown = pb.PredictRequest(model_name="absent", features=[1])
            with pytest.raises(grpc.aio.AioRpcError):
                await predict(unknown.SerializeToString(), timeout=20)
        await eventually(lambda: len(collector.named("inference.ModelInference/Predict")) == 2)
    call = collector.of(TRACE)["gateway: inference.ModelInference/Predict"]
    assert call.span.trace_state == "a=1,b=2"
    assert (call.parent, len(collector.of(TRACE))) == (PARENT, 5)
    facts = {name: value for name, value in call.facts.items() if name.startswith("rpc")}
    assert facts == {
        "rpc.system": "grpc",
        "rpc.service": "inference.ModelInference",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 0,
    }
    (other,) = [one for one in collector.named(call.span.name) if one.trace_id != TRACE]
    assert (other.facts["rpc.grpc.status_code"], other.parent, other.failed) == (5, "", False)


async def test_probes_leave_nothing_and_pages_have_their_route(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with traced(tmp_path) as (hub, collector):
        assert (await hub.get("/v2/health/ready"))[0] == 200
        assert (await hub.get("/v2/models/quick?a=1"))[0] == 200
        assert (await hub.get("/nowhere"))[0] == 404
        await eventually(lambda: len(collector.spans) >= 2)
    assert {(one.span.name, one.facts["url.path"]) for one in collector.spans} == {
        ("GET /v2/models/{model}", "/v2/models/quick"),
        ("GET", "/nowhere"),
    }


async def test_long_paths_and_names_are_cut(tmp_path: Path) -> None:
    """What waits for the collector is held in memory, and so is what spans of one kind have in common."""
    mock_model(tmp_path)
    async with traced(tmp_path) as (hub, collector):
        assert (await hub.get(f"/{'a' * 20_000}?b=1"))[0] == 404
        assert (await hub.post("/predict", {**BODY, "model_name": "m" * 20_000}))[0] == 404
        await eventually(lambda: len(collector.spans) >= 2)
    by_name = {one.span.name: one.facts for one in collector.spans}
    assert by_name["GET"]["url.path"] == "/" + "a" * 499
    assert len(str(by_name["POST /predict"].get("inferencehub.model", ""))) <= 500


async def test_a_collector_that_is_stuck_costs_no_call_anything(tmp_path: Path) -> None:
    mock_model(tmp_path)
    more = {"bsp_max_queue_size": 10, "bsp_max_export_batch_size": 5}
    async with traced(tmp_path, **more) as (hub, collector):
        collector.stuck = threading.Event()
        for _ in range(60):
            assert (await hub.post("/predict", BODY))[0] == 200
        found = re.search(r'traced_calls_total{outcome="dropped"} (\d+)', await hub.metrics())
        assert found is not None
        assert int(found[1]) >= 60 - 10 - 5
        collector.stuck.set()
        await eventually(lambda: len(collector.named("POST /predict")) == 60 - int(found[1]))


@pytest.mark.parametrize("on", [True, False])
async def test_access_lines_have_the_id_of_the_trace(tmp_path: Path, on: bool) -> None:
    """Whether it is kept or not; and "" where there are no traces."""
    mock_model(tmp_path)
    sent = {"traceparent": CAME["traceparent"][:-1] + "0"}
    with collecting() as collector:
        async with calling(tmp_path, otlp_endpoint=collector.url if on else "") as caller:
            async with aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{caller.gateway.port}/predict"
                async with session.post(url, json=BODY, headers=sent) as answer:
                    assert answer.status == 200
            infer: Any = caller.channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
            await infer(features("quick", 1.0, 2.0).SerializeToString(), metadata=tuple(sent.items()))
            await eventually(lambda: caller.gateway.metrics.in_flight == 0)
            lines = caller.written()
        assert [(line["front"], line["trace_id"]) for line in lines] == [
            ("http", TRACE if on else ""),
            ("grpc", TRACE if on else ""),
        ]
        assert not collector.spans


async def test_latencies_name_a_trace_in_openmetrics(tmp_path: Path) -> None:
    mock_model(tmp_path)
    kept, left_out = CAME, {"traceparent": CAME["traceparent"].replace("4bf9", "5bf9")[:-1] + "0"}
    async with traced(tmp_path) as (hub, _):
        for headers in (kept, left_out):
            assert (await hub.post("/predict", BODY, headers=headers))[0] == 200
        ops = f"http://127.0.0.1:{hub.gateway.ops.port}/metrics"
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        async with hub.client.get(ops, headers=accept) as answer:
            shown = await answer.text()
        plain = await hub.metrics()
    assert re.findall(r'# {trace_id="(\w+)"}', shown) == [TRACE]
    (line,) = [line for line in shown.splitlines() if TRACE in line]
    assert line.startswith('inferencehub_gateway_request_seconds_bucket{front="http"')
    assert TRACE not in plain
