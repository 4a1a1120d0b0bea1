"""A call of an ensemble that fails, or whose caller leaves, keeps nothing for the garbage collector."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.cycles import unfreed, without_collector
from tests.gateway.routing.ensembles.models import ensemble, step, tensors
from tests.hub import eventually, running_hub, write_model

FAILS = """
import time


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        if inputs["x"].max() > 0:
            time.sleep(60)
        raise ValueError("no")
"""
IN, OUT = tensors("input", ["x"], dims="1"), tensors("output", ["y"], dims="1")


async def test_a_call_that_fails_leaves_no_cycles(tmp_path: Path) -> None:
    config = f'backend: "python" max_batch_size: 1 {IN} {OUT}'
    write_model(tmp_path, "fails", config, {"1/model.py": FAILS})
    ensemble(
        tmp_path,
        "chain",
        step("fails", {"x": "x"}, {"y": "between"}),
        step("fails", {"x": "between"}, {"y": "y"}),
        inputs=IN,
        outputs=OUT,
        most_rows=1,
    )
    async with running_hub(tmp_path, pod={"model_grace_s": 0.1}) as hub:
        path = "/v2/models/chain/infer"
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [0, 0]}]}
        late = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}
        (lane,) = hub.gateway.table.known("fails")
        await hub.post(path, body)
        with without_collector():
            status, said, _ = await hub.post(path, body)
            assert (status, said["error"]) == (
                400,
                "step 1 (model 'fails') of ensemble 'chain': model 'fails': no",
            )
            await eventually(lambda: lane.lane.idle)
            assert not unfreed()
            headers = {"x-request-timeout-ms": "300"}
            assert (await hub.post(path, late, headers=headers))[0] == 504
            await eventually(lambda: lane.lane.idle)
            await asyncio.sleep(0.3)  # the model's process begins again
            assert not unfreed()
