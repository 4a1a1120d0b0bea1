"""An ensemble while the model of a step changes: for a while, pods of two releases serve it."""

from __future__ import annotations

from pathlib import Path

from tests import onnx_files as onnx
from tests.gateway.routing.ensembles.models import ensemble, node_model, step
from tests.hub import eventually, running_hub, running_pod, write_model


async def test_it_runs_as_long_as_any_pod_of_a_step_fits(tmp_path: Path) -> None:
    node_model(tmp_path / "old", "neg", "Neg")
    ensemble(tmp_path / "old", "made", step("neg", {"x": "x"}, {"y": "y"}))
    wider = onnx.tensor_type(onnx.FLOAT, ["n", 4])
    content = onnx.one_node("Neg", {"x": wider}, wider)
    write_model(tmp_path / "new", "neg", "max_batch_size: 8", {"1/model.onnx": content})
    async with running_hub(tmp_path / "old", hold_s=0.2) as hub, running_pod(tmp_path / "new") as second:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
        assert (await hub.post("/v2/models/made/infer", body))[0] == 200
        table = hub.gateway.table
        hub.gateway.fleet.discovery.met(f"127.0.0.1:{second.port}")
        await eventually(
            lambda: len(table.known("neg")) == 2 and all(lane.open for lane in table.known("neg"))
        )
        status, said, _ = await hub.post("/v2/models/made/infer", body)
        assert status == 200, said
        assert said["outputs"][0]["data"] == [-1, -2, -3]
