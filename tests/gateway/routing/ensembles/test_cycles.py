"""A call of an ensemble that fails, or whose caller leaves, keeps nothing for the garbage collector."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inferencehub.core.lane.slot import Ran
from inferencehub.core.oip.ensembles.steps import Step
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.gateway.routing.ensembles.run import Run
from inferencehub.gateway.routing.model_lane import ModelLane
from tests.core.lane.jobs import job
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


async def test_a_caller_that_leaves_while_a_step_fails_leaves_no_cycles() -> None:
    """The call is cancelled in that pass of the loop in which its step ends."""
    x, y = TensorSpec("x", "FP32", (-1, 1)), TensorSpec("y", "FP32", (-1, 1))
    info = ModelInfo("chain", "1", "ensemble", Signature((x,), (y,)))

    async def fails(request: InferRequest, deadline: float) -> tuple[ModelLane, InferRequest, int]:
        asyncio.get_running_loop().call_soon(running[0].cancel)
        await asyncio.sleep(0)
        raise HubError(Kind.TOO_SLOW, "late")

    steps = (Step(1, "m", "", (("x", "x"),), (("y", "y"),)),)
    running: list[asyncio.Future[Ran]] = []
    with without_collector():
        running.append(asyncio.ensure_future(Run(info, steps, job(), fails).answer()))
        with pytest.raises(HubError, match=r"step 1 \(model 'm'\) of ensemble 'chain': late"):
            await running[0]
        running.clear()
        assert not unfreed()
