"""Copies of calls that try a version: what they show, and that no caller notices them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from struct import pack
from time import monotonic
from typing import Any

import pytest

from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.core.values.tensors import Tensor
from inferencehub.gateway.routing.traffic.agreement import agree
from inferencehub.gateway.routing.traffic.shadow import Shadow
from tests.cycles import unfreed, without_collector
from tests.gateway.routing.traffic.test_rollback import models
from tests.gateway.routing.traffic.versions import (
    INFER,
    answered_by,
    changed,
    metric,
    split_hub,
    traffic_of,
)
from tests.hub import Hub, eventually, write_model

SHADOW = {"weights": {"1": 1}, "shadow": {"version": "2", "share": 1}}
SLOW = """
import time
from pathlib import Path

class Model:
    def __init__(self, directory, parameters):
        self.new = directory.name == "2"
        self.held = directory / "held"

    def predict(self, inputs):
        while self.new and self.held.exists():
            time.sleep(0.01)
        return {"y": inputs["features"]}
"""
CONFIG = """backend: "python" version_policy { all { } }
    input { name: "features" data_type: TYPE_FP32 dims: [ -1 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }"""


def shadow_of(hub: Hub) -> Shadow:
    """What the copies have shown."""
    shadow = traffic_of(hub).shadow("m")
    assert shadow is not None
    return shadow


async def one_by_one(hub: Hub, calls: int) -> None:
    """Some calls; before the next one, the copy of each has ended."""
    for number in range(calls):
        assert await answered_by(hub, 1) == {"1": 1}
        await eventually(lambda number=number: sum(shadow_of(hub).copies.values()) == number + 1)


async def test_a_version_that_answers_the_same_agrees(tmp_path: Path) -> None:
    async with split_hub(tmp_path, SHADOW) as hub:
        await one_by_one(hub, 20)
        _, shown, _ = await hub.get("/v2/models/m/traffic")
        verdict = shown["shadow"]
        assert verdict["copies"] == {"agreed": 20, "differed": 0, "failed": 0, "dropped": 0}
        assert (verdict["version"], verdict["share"], verdict["agreement"]) == ("2", 1, 1)
        assert verdict["latency_ratio"] > 0
        labels = 'model="m",outcome="agreed",version="2"'
        assert await metric(hub, f"inferencehub_gateway_shadow_calls_total{{{labels}}}") == 20
        assert await metric(hub, 'inferencehub_gateway_shadow_agreement{model="m",version="2"}') == 1
        assert await metric(hub, 'inferencehub_gateway_shadow_latency_ratio{model="m",version="2"}') > 0
        assert hub.gateway.bytes_held.held == 0


async def test_a_version_that_answers_something_else_differs(tmp_path: Path) -> None:
    directory = models(tmp_path)
    async with split_hub(tmp_path, SHADOW) as hub:
        await one_by_one(hub, 5)
        (directory / "broken").touch()
        await one_by_one_more(hub, 5)
        assert shadow_of(hub).copies == Counter(differed=5, failed=5)
        assert (shadow_of(hub).agreement, hub.gateway.bytes_held.held) == (0, 0)


async def one_by_one_more(hub: Hub, calls: int) -> None:
    """As `one_by_one`, after others."""
    for _ in range(calls):
        before = sum(shadow_of(hub).copies.values())
        assert await answered_by(hub, 1) == {"1": 1}
        await eventually(lambda before=before: sum(shadow_of(hub).copies.values()) > before)


async def test_a_share_of_the_calls_gets_a_copy_and_named_versions_too(tmp_path: Path) -> None:
    entry = {"weights": {"1": 1}, "shadow": {"version": "2", "share": 0.5}}
    async with split_hub(tmp_path, entry) as hub:
        for _ in range(60):
            await answered_by(hub, 1)
        found = sum(shadow_of(hub).copies.values())
        assert 8 <= found <= 52  # a right one fails once in a billion runs
        assert await answered_by(hub, 20, "/v2/models/m/versions/2/infer") == {"2": 20}
        await eventually(lambda: hub.gateway.bytes_held.held == 0)
        assert sum(shadow_of(hub).copies.values()) <= found + 1
        changed(hub, tmp_path / "traffic.json", {"weights": {"1": 1}})
        assert traffic_of(hub).shadow("m") is None


async def test_callers_do_not_wait_for_copies(tmp_path: Path) -> None:
    """The one instance of the version that gets copies is stuck: calls are answered, and further copies are dropped."""
    write_model(tmp_path / "models", "m", CONFIG, {"1/model.py": SLOW, "2/model.py": SLOW})
    held = tmp_path / "models" / "m" / "2" / "held"
    held.touch()
    async with split_hub(tmp_path, SHADOW) as hub:
        began = monotonic()
        for _ in range(20):
            assert await answered_by(hub, 1) == {"1": 1}
        assert monotonic() - began < 20.0
        assert shadow_of(hub).copies.keys() == {"dropped"}
        assert shadow_of(hub).copies["dropped"] >= 17
        held.unlink()
        await eventually(lambda: sum(shadow_of(hub).copies.values()) == 20)
        await eventually(lambda: hub.gateway.bytes_held.held == 0)


async def test_copies_are_dropped_where_memory_is_short(tmp_path: Path) -> None:
    body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [3000], "data": [0.5] * 3000}]}
    async with split_hub(tmp_path, SHADOW, queue_bytes=40_000) as hub:
        held = hub.gateway.bytes_held
        held.take(15_000)
        assert (await hub.post(INFER, body))[0] == 200
        assert shadow_of(hub).copies == Counter(dropped=1)
        held.give(15_000)
        assert held.held == 0


async def test_a_copy_leaves_no_cycle(tmp_path: Path) -> None:
    async with split_hub(tmp_path, SHADOW) as hub:
        await one_by_one(hub, 5)
        with without_collector():
            await one_by_one_more(hub, 10)
            assert not unfreed()


async def test_the_log_shows_the_shadow_beside_the_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    entry = {"weights": {"1": 1}, "aliases": {"new": "2"}, "shadow": {"version": "new", "share": 0.1}}
    async with split_hub(tmp_path, entry) as hub:
        changed(hub, tmp_path / "traffic.json", {"weights": {"1": 1}})
    first, second = [vars(one) for one in caplog.records if one.getMessage() == "traffic"]
    assert (first["weights"], first["shadow"]) == ("'1': 1", "'2': 0.1")
    assert "shadow" not in second


async def test_a_version_that_no_pod_serves_gets_no_copies(tmp_path: Path) -> None:
    async with split_hub(tmp_path, {"shadow": {"version": "7", "share": 1}}) as hub:
        assert await answered_by(hub, 5) == {"2": 5}
        await asyncio.sleep(0)
        assert shadow_of(hub).copies == Counter(dropped=5)


# --- what is the same ---


def answer(*outputs: Tensor) -> InferResponse:
    """An answer of some outputs."""
    return InferResponse("m", "1", outputs)


def fp32(*values: float, name: str = "y") -> Tensor:
    """An output of some numbers."""
    return Tensor(name, "FP32", (len(values),), pack(f"<{len(values)}f", *values))


ROWS = TensorSpec("x", "FP32", (-1, 2))
PLAIN = ModelInfo("m", "1", "", Signature((ROWS, TensorSpec("z", "FP32", (-1, 2))), (ROWS,)))


@pytest.mark.parametrize(
    ("one", "other", "agreed"),
    [
        (answer(fp32(1.0, 2.0)), answer(fp32(1.0005, 2.001)), True),
        (answer(fp32(1.0, 2.0)), answer(fp32(1.0, 2.01)), False),
        (answer(fp32(float("nan"), 0.0)), answer(fp32(float("nan"), 1e-7)), True),
        (answer(fp32(1.0)), answer(fp32(1.0, 1.0)), False),
        (answer(fp32(1.0)), answer(fp32(1.0, name="z")), False),
        (answer(fp32(1.0)), answer(fp32(1.0), fp32(1.0, name="z")), False),
        (answer(Tensor("y", "INT8", (1,), b"\1")), answer(Tensor("y", "INT8", (1,), b"\2")), False),
        (answer(Tensor("y", "BF16", (1,), b"\x80\x3f")), answer(Tensor("y", "BF16", (1,), b"\x81\x3f")), False),
        (answer(Tensor("y", "FP16", (1,), pack("<e", 1.0))), answer(Tensor("y", "FP16", (1,), pack("<e", 1.0005))), True),
        (answer(fp32(*[1.0] * 5000)), answer(fp32(*[2.0] * 5000)), False),
    ],
)  # fmt: skip
def test_outputs_are_the_same_within_a_thousandth(one: Any, other: Any, agreed: bool) -> None:
    assert agree(PLAIN, one, other) is agreed


def test_of_a_classifier_the_class_decides() -> None:
    info = ModelInfo("m", "1", "", Signature((ROWS,), (TensorSpec("probabilities", "FP32", (-1, 2)),), 8))
    one = answer(Tensor("probabilities", "FP32", (1, 2), pack("<2f", 0.6, 0.4)))
    other = answer(Tensor("probabilities", "FP32", (1, 2), pack("<2f", 0.9, 0.1)))
    third = answer(Tensor("probabilities", "FP32", (1, 2), pack("<2f", 0.1, 0.9)))
    assert agree(info, one, other)
    assert not agree(info, one, third)
