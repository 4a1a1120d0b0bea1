"""What Python models measure themselves, on the pod's /metrics: sums of all processes, bounded, and no name of two kinds."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from time import sleep
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inferencehub.inference.metrics import ShownMetrics
from inferencehub.model.metrics import SERIES, Family
from tests.hub import eventually, write_model
from tests.inference.pod_processes import Pod, calling_pod, features

MODEL = """
import os, time
from inferencehub.model import metrics

CALLS = metrics.counter("calls", "calls of the model", ("sign",))
LAST = metrics.gauge("last", "the last value")
SIZES = metrics.histogram("sizes", "values", buckets=(1, 10))

class Model:
    def __init__(self, directory, parameters):
        self.called = directory / "called"
        metrics.counter("loads", "times it was loaded").inc()

    def predict(self, inputs):
        self.called.touch()
        for value in inputs["features"].tolist():
            if value == 666: os._exit(1)
            if value == 777: time.sleep(0.5)
            if value == 999:
                for number in range(1000): CALLS.inc(sign=number)
            CALLS.inc(sign="minus" if value < 0 else "plus")
            LAST.set(value)
            SIZES.observe(value)
        return {"y": [1]}
"""
CONFIG = """backend: "python"
    input { name: "features" data_type: TYPE_FP32 dims: [ -1 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }"""


async def shown(pod: Pod) -> dict[str, float]:
    """The samples of models on the pod's page of metrics; the labels `model` and `version` are checked and left out."""
    found = {}
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{pod.server.ops.port}/metrics") as answer,
    ):
        for family in text_string_to_metric_families(await answer.text()):
            for sample in family.samples:
                if sample.name.startswith("inferencehub_model_") and not sample.name.endswith("_created"):
                    labels = dict(sample.labels)
                    assert (labels.pop("model"), labels.pop("version")) == ("m", "1")
                    found[" ".join([sample.name.removeprefix("inferencehub_model_"), *labels.values()])] = (
                        sample.value
                    )
    return found


async def becomes(pod: Pod, expected: dict[str, float]) -> None:
    """Wait until these samples, and no others, are on the page."""
    for _ in range(100):
        found = await shown(pod)
        if found == expected:
            return
        await asyncio.sleep(0.05)
    assert found == expected


async def test_they_are_on_the_page_and_survive_a_crash(tmp_path: Path) -> None:
    write_model(tmp_path, "m", CONFIG, {"1/model.py": MODEL})
    async with calling_pod(tmp_path) as pod:
        await becomes(pod, {"loads_total": 1})
        await pod.infer(features("m", 1, 5, -3, 20))
        counted = {
            "calls_total plus": 3, "calls_total minus": 1,
            "sizes_bucket 1.0": 2, "sizes_bucket 10.0": 3, "sizes_bucket +Inf": 4, "sizes_count": 4, "sizes_sum": 23,
        }  # fmt: skip
        await becomes(pod, {"loads_total": 1, "last 0": 20, **counted})
        await pod.refusal(features("m", 666))
        await becomes(pod, {"loads_total": 2, **counted})
        await pod.infer(features("m", 5))
        counted |= {
            "calls_total plus": 4, "sizes_bucket 10.0": 4, "sizes_bucket +Inf": 5, "sizes_count": 5, "sizes_sum": 28,
        }  # fmt: skip
        await becomes(pod, {"loads_total": 2, "last 0": 5, **counted})


async def test_what_comes_with_an_answer_is_shown_before_the_next_call(tmp_path: Path) -> None:
    write_model(tmp_path, "m", CONFIG, {"1/model.py": MODEL})
    async with calling_pod(tmp_path) as pod:
        await becomes(pod, {"loads_total": 1})
        call = asyncio.ensure_future(pod.infer(features("m", 777)))
        await eventually((tmp_path / "m" / "1" / "called").exists)
        sleep(1.5)  # noqa: ASYNC251  # the service is held up, and then reads both at once
        await call
        await eventually_shown(pod, "calls_total plus")


async def eventually_shown(pod: Pod, name: str) -> None:
    """Wait until such a sample is on the page."""
    async with asyncio.timeout(20):
        while name not in await shown(pod):  # noqa: ASYNC110  only the page tells
            await asyncio.sleep(0.05)


async def test_labels_without_end_are_an_error_with_a_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path, "m", CONFIG, {"1/model.py": MODEL})
    async with calling_pod(tmp_path) as pod:
        status, _ = await pod.refusal(features("m", 999))
        assert status == "INTERNAL"
        traces = [str(vars(record).get("traceback")) for record in caplog.records]
        assert any("metric 'calls' has 100 sets of label values, the most" in trace for trace in traces)
        await pod.infer(features("m"))


def counter(name: str, *values: str, kind: str = "counter") -> Family:
    return Family(kind, name, "", ("user",), (), tuple([((value,), (1.0,)) for value in values]))


def reasons(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [vars(record)["reason"] for record in caplog.records]


def test_processes_that_come_and_go_make_no_labels_without_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    own = ShownMetrics().of("m", "1")
    for process in range(20):
        own.add(0, counter("users", *[f"{process} {number}" for number in range(50)]))
    assert len(own.kept["users"].series) == SERIES
    assert reasons(caplog) == ["all processes together have 100 sets of label values"]
    for name in range(300):
        own.add(0, counter(f"c{name}", "a"))
    assert len(own.kept) == 100
    assert len(caplog.records) <= 102


def test_one_name_has_one_kind(caplog: pytest.LogCaptureFixture) -> None:
    shown = ShownMetrics()
    one, two = shown.of("one", "1"), shown.of("two", "1")
    one.add(0, counter("x", "a"))
    for _ in range(3):
        two.add(0, counter("x", "a", kind="gauge"))
    assert reasons(caplog) == ["it is a counter of model 'one'"]
    (family,) = shown.collect()
    assert [sample.labels for sample in family.samples] == [{"model": "one", "version": "1", "user": "a"}]


def test_gauges_are_those_of_the_processes_that_live() -> None:
    own = ShownMetrics().of("m", "1")
    for instance in (0, 1):
        own.add(instance, counter("size", "a", kind="gauge"))
        own.add(instance, counter("users", "a"))
    own.drop_gauges(0)
    assert own.kept["size"].series == {("a", "1"): [1.0]}
    assert own.kept["users"].series == {("a",): [2.0]}
    own.add(1, counter("size", "a", kind="gauge"))
    assert own.kept["size"].series == {("a", "1"): [1.0]}
