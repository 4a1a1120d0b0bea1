"""The gateway counts requests from the beginning: shares of errors exist before the first error."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.studies.scrapes import held
from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.key_file import USUAL
from inferencehub.core.oip import messages
from inferencehub.core.process.scrape.scrapes import all_text
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.usage import Usage
from inferencehub.gateway.metrics import FRONTS, STATUSES, Metrics
from inferencehub.pb import inference_pb2 as predict_pb
from tests.hub import Hub, running_hub

NAME = "inferencehub_gateway_requests"


async def requests(hub: Hub) -> dict[tuple[str, str, str], float]:
    """The counter by front, model and status."""
    families = {family.name: family for family in text_string_to_metric_families(await hub.metrics())}
    return {
        (sample.labels["front"], sample.labels["model"], sample.labels["status"]): sample.value
        for sample in families[NAME].samples
    }


async def test_requests_are_counted_from_the_beginning() -> None:
    async with running_hub() as hub:
        began = await requests(hub)
        assert set(began.values()) == {0}
        models = {model for _, model, _ in began}
        assert {"", "v1-mock", "sentiment"} <= models
        assert began.keys() == {(f, m, s) for f in FRONTS for m in models for s in STATUSES}
        await hub.post("/predict", {"text": "good"})
        await hub.post("/predict", {"text": "good", "model_name": "none"})
        await hub.post("/predict", {"features": [1], "model_name": "sentiment"})
        counted = {key: value for key, value in (await requests(hub)).items() if value}
        assert counted == {
            ("http", "sentiment", "200"): 1,
            ("http", "sentiment", "400"): 1,
            ("http", "", "404"): 1,
        }


async def test_bytes_connections_and_streams_are_counted() -> None:
    async with running_hub() as hub:
        before = await samples(hub)
        body = b'{"model_name":"v1-mock","features":[' + b"1," * 20_000 + b"1]}"
        assert (await hub.post("/predict", body))[0] == 200
        async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
            ask: Any = channel.unary_unary("/inference.ModelInference/Predict")
            asked = predict_pb.PredictRequest(features=[1.0] * 500, model_name="v1-mock").SerializeToString()
            answer = await ask(asked)
            stream: Any = channel.stream_stream(messages.STREAM_METHOD)()
            await stream.write(b"")
            await stream.read()
            during = await samples(hub)
            stream.cancel()
        grown = {key: value - before[key] for key, value in during.items() if key in before}

        assert len(body) < grown["bytes", "http", "received"] < len(body) + 2000
        assert 100 < grown["bytes", "http", "sent"] < 2000
        assert grown["bytes", "grpc", "received"] == len(asked)
        assert grown["bytes", "grpc", "sent"] >= len(answer)
        assert during["connections", "http", ""] == 1
        assert during["streams", "grpc", ""] == 1
        pod = {
            sample.labels["direction"]: sample.value
            for family in hub.pods[0].metrics.registry.collect()
            for sample in family.samples
            if sample.name == "inferencehub_inference_bytes_total" and sample.labels["front"] == "gateway"
        }
        assert pod["received"] > len(asked)
        assert pod["sent"] > 0


async def samples(hub: Hub) -> dict[tuple[str, str, str], float]:
    """What the fronts carry and have open: by metric, front and direction."""
    found = {}
    for family in text_string_to_metric_families(await hub.metrics()):
        what = family.name.removeprefix("inferencehub_gateway_")
        for sample in family.samples if what in ("bytes", "connections", "streams") else ():
            found[what, sample.labels["front"], sample.labels.get("direction", "")] = sample.value
    return found


def test_no_piece_of_a_scrape_is_long() -> None:
    """With many models and callers too: the event loop runs between pieces."""
    metrics, usage = Metrics(), Usage(None)
    metrics.registry.register(usage)
    for number in range(50):
        metrics.lane(f"model-{number}")
        call = Exchange("1")
        call.model = f"model-{number}"
        for status in STATUSES:
            metrics.http.answered(call, int(status), 0.1)
    for number in range(1000):
        call = Exchange("1")
        call.caller = Caller(f"key-{number}", "team", ["*"], USUAL, listed=True)
        usage.ended(call, 0.0)
    pieces = list(all_text(metrics.registry, openmetrics=False))
    assert max(piece.count("\n") for piece in pieces) < 70
    assert len(pieces) > 700


@pytest.mark.timing
async def test_a_scrape_holds_the_loop_for_less_than_5_ms() -> None:
    """Of CPU time, so that other work on the machine does not count; the median, for garbage may be collected."""
    for count in (10, 50):
        assert await held(count) < 5
