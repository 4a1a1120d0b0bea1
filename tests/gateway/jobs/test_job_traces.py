"""Traces of jobs: the call, its attempt and its webhook are one trace, in both stores and over both protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from inferencehub.core.oip import messages
from inferencehub.pb import open_inference_pb2 as pb
from tests.collector import collecting
from tests.gateway.jobs.test_jobs import ADD, BELOW, SLOW, ask, ended, submitted
from tests.gateway.jobs.webhooks.receiver import receiving
from tests.gateway.jobs.webhooks.test_webhooks import ADDS, hub_with_webhooks, settled, url
from tests.hub import eventually

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CAME = f"00-{TRACE}-{PARENT}-01"
NOT_KEPT = f"00-{TRACE}-{PARENT}-00"
SOON = {"bsp_schedule_delay_ms": 50}


async def test_a_job_and_its_webhook_are_in_the_trace_of_their_call(tmp_path: Path, jobs: str) -> None:
    with collecting() as collector:
        more: dict[str, Any] = {"jobs": jobs, "otlp_endpoint": collector.url, **SOON}
        async with receiving() as receiver, hub_with_webhooks(tmp_path, receiver, **more) as hub:
            durability = "local" if "sqlite" in jobs else "always"
            headers = {"traceparent": CAME, "tracestate": "a=1", "baggage": "secret=7"}
            to = url(receiver, "/200/told")
            job = await submitted(hub, ADDS, {"inputs": [ADD]}, durability, x_webhook_url=to, **headers)
            await settled(hub, job)
            (message,) = receiver.of("/200/told")
            await eventually(lambda: len(collector.of(TRACE)) >= 6)
    calls = [one for one in collector.spans if one.span.name == "POST /v2/models/{model}/infer"]
    call, attempt = sorted(calls, key=lambda one: one.span.kind)
    (post,) = collector.named("POST")
    assert [call.parent, attempt.parent, post.parent] == [PARENT, call.id, call.id]
    assert (call.span.kind, attempt.span.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
    assert {one.trace_id for one in (call, attempt, post)} == {TRACE}
    assert (call.facts["http.response.status_code"], attempt.facts["http.response.status_code"]) == (202, 200)
    assert collector.of(TRACE)["inference: run adds"].trace_id == TRACE
    assert post.facts["server.port"] == receiver.port
    assert message.headers["traceparent"] == f"00-{TRACE}-{post.id}-01"
    assert message.headers["tracestate"] == "a=1"
    assert "baggage" not in message.headers


async def test_a_webhook_that_is_not_delivered_is_kept_whatever_was_decided(tmp_path: Path) -> None:
    with collecting() as collector:
        more: dict[str, Any] = {"otlp_endpoint": collector.url, "trace_slow_ms": 0, **SOON}
        async with receiving() as receiver, hub_with_webhooks(tmp_path, receiver, **more) as hub:
            to = url(receiver, "/500,200/told")
            sent = {"x_webhook_url": to, "traceparent": NOT_KEPT}
            job = await submitted(hub, ADDS, BELOW, **sent)
            assert (await ended(hub, job))["state"] == "failed"
            await eventually(lambda: len(receiver.of("/500,200/told")) == 1)
            await eventually(lambda: collector.named("POST"))
            await ask(hub, "DELETE", job)
    (post,) = collector.named("POST")
    assert (post.trace_id, post.failed, len(collector.of(TRACE))) == (TRACE, True, 1)
    assert receiver.messages[0].headers["traceparent"] == f"00-{TRACE}-{post.id}-00"


@pytest.mark.parametrize("traced", [True, False])
async def test_a_job_of_grpc_is_in_the_trace_of_its_call(tmp_path: Path, traced: bool) -> None:
    message = pb.ModelInferRequest(model_name="adds")
    message.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.5)
    with collecting() as collector:
        more: dict[str, Any] = {"otlp_endpoint": collector.url if traced else "", **SOON}
        async with receiving() as receiver, hub_with_webhooks(tmp_path, receiver, **more) as hub:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
                infer: Any = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
                metadata = (("hub-async", "wait=20"), ("traceparent", CAME))
                answer = pb.ModelInferResponse.FromString(
                    await infer(message.SerializeToString(), metadata=metadata)
                )
            assert answer.outputs
            if traced:
                await eventually(lambda: len(collector.named(f"{messages.SERVICE}/ModelInfer")) == 2)
    if traced:
        call, attempt = sorted(
            collector.named(f"{messages.SERVICE}/ModelInfer"), key=lambda one: one.span.kind
        )
        assert [call.parent, attempt.parent] == [PARENT, call.id]
        assert {call.trace_id, attempt.trace_id} == {TRACE}
    else:
        assert not collector.spans


async def test_those_who_wait_for_a_job_are_not_slow(tmp_path: Path) -> None:
    """Its attempt is, which ends after all of them have left."""
    with collecting() as collector:
        more: dict[str, Any] = {"otlp_endpoint": collector.url, "traces_sampler": "always_off", **SOON}
        more["trace_slow_ms"] = 300
        async with receiving() as receiver, hub_with_webhooks(tmp_path, receiver, **more) as hub:
            job = await submitted(hub, *SLOW)
            async with hub.client.get(f"{hub.url}{job}/events") as events:
                status, _, _ = await ask(hub, "POST", *SLOW, prefer="wait=1, respond-async")
                assert (events.status, status) == (200, 202)
            async with hub.client.get(f"{hub.url}{job}/result?wait=1") as answer:
                assert answer.status == 202
            await ask(hub, "DELETE", job)
            await eventually(lambda: collector.named("call counter"))
    assert {one.span.kind for one in collector.spans if one.facts.get("http.route")} == {
        Span.SPAN_KIND_CONSUMER
    }
