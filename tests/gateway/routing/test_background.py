"""Background work that is made of several runs: it waits behind calls for as long as it has to."""

from __future__ import annotations

import struct
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.sink import OneAnswer
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from tests.gateway.routing.ensembles.models import ensemble, step, tensors
from tests.hub import running_hub, write_model

SLEEPS = """
import time


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        time.sleep(float(inputs["x"].max()))
        return {"y": inputs["x"]}
"""
IN, OUT = tensors("input", ["x"], dims="1"), tensors("output", ["y"], dims="1")


def job_of(model: str, rows: int, limit_s: float, sleep_s: float = 0.0) -> Job:
    """A call whose rows take so many seconds each."""
    now = monotonic()
    data = struct.pack(f"<{rows}f", *[sleep_s] * rows)
    request = InferRequest(model, "", (Tensor("x", "FP32", (rows, 1), data),))
    return Job(request, rows, (Member(rows, now + limit_s, "id"),), now)


@pytest.mark.parametrize(("model", "rows"), [("sleeps", 8), ("made", 1)], ids=["in parts", "an ensemble"])
async def test_the_time_of_a_run_begins_with_the_run(model: str, rows: int, tmp_path: Path) -> None:
    write_model(tmp_path, "sleeps", f'backend: "python" max_batch_size: 1 {IN} {OUT}', {"1/model.py": SLEEPS})
    ensemble(tmp_path, "made", step("sleeps", {"x": "x"}, {"y": "y"}), inputs=IN, outputs=OUT, most_rows=1)
    async with running_hub(tmp_path) as hub:
        table = hub.gateway.table
        (lane,) = table.known("sleeps")
        calls = [OneAnswer(), OneAnswer()]
        for call in calls:  # one runs, and one is on its way
            lane.accept(job_of("sleeps", 1, 30.0, sleep_s=1.5), call)
        behind, sink = job_of(model, rows, limit_s=2.8), OneAnswer()
        behind.to_background()
        table.known(model)[0].accept(behind, sink)
        assert (await sink.future).outputs[0].shape == (rows, 1)
        assert all(call.future.done() for call in calls)
