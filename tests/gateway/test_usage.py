"""What callers have used: by tenant, key and day, over all fronts, as metrics and for the tenants themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.auth.key_file import OTHER, USUAL, new_key
from inferencehub.core.oip import messages
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.usage import MOST_CALLERS, MOST_DAYS, Usage
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, mock_model, running_hub
from tests.inference.pod_processes import features

TENANTS = {"a": "search", "b": "search", "c": "shop", "alone": ""}
KEYS = {name: new_key(name) for name in TENANTS}
DAY_S = 86_400.0


@asynccontextmanager
async def hub_with_keys(tmp_path: Path) -> AsyncIterator[Hub]:
    mock_model(tmp_path / "models", "quick", delay_ms=20)
    entries = [
        {"id": name, "sha256": sha256(key.encode()).hexdigest(), "tenant": TENANTS[name]}
        for name, key in KEYS.items()
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    async with running_hub(tmp_path / "models", api_keys=str(tmp_path / "keys.json")) as hub:
        yield hub


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


INFER = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}


async def used(hub: Hub, name: str) -> dict[str, dict[str, Any]]:
    """What a key sees, by caller."""
    status, found, _ = await hub.get("/v2/usage", headers=bearer(name))
    assert (status, found["tenant"]) == (200, TENANTS[name])
    today = datetime.now(UTC).date().isoformat()
    assert {one["day"] for one in found["usage"]} <= {today}
    return {one["caller"]: one for one in found["usage"]}


async def test_calls_of_all_fronts_are_counted(tmp_path: Path) -> None:
    async with (
        hub_with_keys(tmp_path) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        path = "/v2/models/quick/infer"
        found = await asyncio.gather(*[hub.post(path, INFER, headers=bearer("a")) for _ in range(3)])
        assert [status for status, *_ in found] == [200] * 3
        assert (await hub.post(path, {"inputs": []}, headers=bearer("b")))[0] == 400
        assert (await hub.post(path, INFER))[0] == 401
        ask: Any = channel.unary_unary(
            f"/{messages.SERVICE}/ModelInfer", request_serializer=pb.ModelInferRequest.SerializeToString
        )
        open_stream: Any = channel.stream_stream(
            f"/{messages.SERVICE}/ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString
        )
        message = features("quick", 1.0, 2.0)
        await ask(message, metadata=tuple(bearer("c").items()))
        stream = open_stream(metadata=tuple(bearer("c").items()))
        await stream.write(message)
        await stream.read()
        await stream.done_writing()

        search = await used(hub, "a")
        assert set(search) == {"a", "b"}
        assert (search["a"]["calls"], search["a"]["rows"]) == (3, 3)
        assert search["a"]["compute_ms"] >= 3 * 20
        assert search["a"]["bytes"] == 3 * len(json.dumps(INFER))
        assert (search["b"]["calls"], search["b"]["rows"], search["b"]["compute_ms"]) == (1, 0, 0)
        shop = await used(hub, "c")
        assert (set(shop), shop["c"]["rows"], shop["c"]["bytes"]) == ({"c"}, 2, 2 * message.ByteSize())
        assert await used(hub, "alone") == {}
        assert set(await used(hub, "alone")) == {"alone"}

        registry = hub.gateway.metrics.registry
        labels = {"tenant": "shop", "caller": "c"}
        assert registry.get_sample_value("inferencehub_gateway_usage_calls_total", labels) == 3
        assert registry.get_sample_value("inferencehub_gateway_usage_rows_total", labels) == 2
        assert registry.get_sample_value("inferencehub_gateway_usage_compute_seconds_total", labels) == (
            pytest.approx(shop["c"]["compute_ms"] / 1e3, abs=1e-6)
        )


async def test_nothing_is_counted_where_nobody_is_asked(tmp_path: Path) -> None:
    mock_model(tmp_path / "models", "quick")
    async with running_hub(tmp_path / "models") as hub:
        assert (await hub.post("/v2/models/quick/infer", INFER))[0] == 200
        assert (await hub.get("/v2/usage"))[:2] == (200, {"tenant": "", "usage": [], "quotas": []})


def call(caller: Caller) -> Exchange:
    made = Exchange("1")
    made.caller = caller
    return made


def test_who_is_counted_with_others_knows_nothing_of_them() -> None:
    usage = Usage()
    for name in (OTHER, "ada"):
        usage.ended(call(Caller(name, "", ["*"], USUAL)), 0.0)
    assert usage.of(Caller(OTHER, "", ["*"], USUAL)) == []
    usage.ended(call(ANYONE), 0.0)
    (calls, *_) = usage.collect()
    assert [sample.value for sample in calls.samples] == [2, 0], "strangers are nobody's"


def test_days_are_kept_apart_and_metrics_go_on() -> None:
    usage = Usage()
    caller = Caller("a", "search", ["*"], USUAL, listed=True)
    for day in range(MOST_DAYS + 9):
        for second in (0.0, DAY_S - 1):
            usage.ended(call(caller), day * DAY_S + second)
    days = usage.of(caller)
    assert len(days) == MOST_DAYS
    assert all(day["calls"] == 2 for day in days)
    assert days[-1]["day"] == datetime.fromtimestamp((MOST_DAYS + 8) * DAY_S, UTC).date().isoformat()
    (calls, *_) = usage.collect()
    assert calls.samples[0].value == 2 * (MOST_DAYS + 9)


def test_strangers_fill_no_memory() -> None:
    usage = Usage()
    for number in range(MOST_CALLERS + 50):
        usage.ended(call(Caller(f"key-{number}", f"t{number}", ["*"], USUAL, listed=True)), 0.0)
    late = Caller("late", "late", ["*"], USUAL, listed=True)
    for day in range(3):
        usage.ended(call(late), day * DAY_S)
    (calls, *_) = usage.collect()
    found = {tuple(sample.labels.values()): sample.value for sample in calls.samples}
    assert len(found) == MOST_CALLERS + 1
    assert found["", ""] == 53, "what did not fit, as a whole"
    assert usage.of(late) == [], "and nobody sees it"
    assert [one["calls"] for one in usage.of(Caller("key-7", "t7", ["*"], USUAL, listed=True))] == [1]


def test_refused_and_failed_calls_are_counted_too() -> None:
    usage = Usage()
    for kind in ("ok", "busy", "busy", "bad_input", "model_failed", "not_ready", "deadline", "unsupported"):
        ended = call(Caller("a", "search", ["*"], USUAL, listed=True))
        ended.kind = kind
        usage.ended(ended, 0.0)
    found = {family.name.rpartition("_")[2]: family.samples[0].value for family in usage.collect()}
    assert (found["calls"], found["refused"], found["failed"]) == (8, 2, 3)
