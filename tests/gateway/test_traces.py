"""Traces of calls, as a collector gets them: through the front doors of both tiers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.collector import Collector, collecting
from tests.hub import Hub, eventually, mock_model, running_hub

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CAME = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
BODY = {"model_name": "quick", "features": [1, 2, 3]}


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
