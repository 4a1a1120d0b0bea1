"""Ensembles through the front door: the steps run at pods, and callers see one model."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.python_model import python_model
from tests.gateway.routing.ensembles.models import diamond, ensemble, node_model, step, tensors
from tests.hub import Hub, eventually, mock_model, running_hub, running_pod, write_model

BY_THREE = [[1.0, -2.0, 3.5], [0.0, -0.25, 8.0]]
DIAMOND = {
    "sum": [[0.0, 4.0, 0.0], [0.0, 0.5, 0.0]],
    "minus": [[-1.0, 2.0, -3.5], [0.0, 0.25, -8.0]],
    "size": [[1.0, 2.0, 3.5], [0.0, 0.25, 8.0]],
}


async def infer(hub: Hub, model: str, rows: object = BY_THREE, **more: Any) -> tuple[int, Any]:
    """Status, and the outputs by name or the error."""
    data = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": rows}
    status, said, _ = await hub.post(f"/v2/models/{model}/infer", {"inputs": [data], **more})
    if status != 200:
        return status, said["error"]
    return status, {one["name"]: one["data"] for one in said["outputs"]}


def flat(rows: list[list[float]]) -> list[float]:
    return [number for row in rows for number in row]


async def test_an_ensemble_is_a_model_like_others(tmp_path: Path) -> None:
    diamond(tmp_path)
    async with running_hub(tmp_path) as hub:
        assert await infer(hub, "diamond") == (200, {name: flat(rows) for name, rows in DIAMOND.items()})
        assert await infer(hub, "diamond", outputs=[{"name": "size"}]) == (
            200,
            {"size": flat(DIAMOND["size"])},
        )
        _, about, _ = await hub.get("/v2/models/diamond")
        assert (about["platform"], about["versions"]) == ("ensemble", ["1"])
        assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
        status, said = await infer(hub, "diamond", [[1.0, 2.0]] * 2)
        assert (status, "expected an array of 3, got an array of 2" in said) == (400, True)


async def test_the_steps_merge_with_the_calls_of_others(tmp_path: Path) -> None:
    diamond(tmp_path)
    async with running_hub(tmp_path) as hub:
        found = await asyncio.gather(*[infer(hub, model) for _ in range(20) for model in ("diamond", "neg")])
        for status, outputs in found:
            assert (status, outputs.get("minus", outputs.get("y"))) == (200, flat(DIAMOND["minus"]))
        metrics = await hub.metrics()
        calls = re.search(r'gateway_batch_rows_count\{model="neg"\} (\S+)', metrics)
        rows = re.search(r'gateway_batch_rows_sum\{model="neg"\} (\S+)', metrics)
        assert calls
        assert rows
        assert (float(rows[1]), float(calls[1]) < 40) == (80.0, True)


@pytest.mark.timing
async def test_steps_that_need_nothing_of_each_other_run_at_once_and_the_bill_has_the_longer_one(
    tmp_path: Path,
) -> None:
    mock_model(tmp_path, "slow", delay_ms=400)
    mock_model(tmp_path, "quick", delay_ms=300)
    ensemble(
        tmp_path,
        "both",
        step("slow", {"features": "x"}, {"class_id": "one"}),
        step("quick", {"features": "x"}, {"class_id": "two"}),
        outputs=tensors("output", ["one", "two"], "INT32", "1"),
        most_rows=0,
    )
    async with running_hub(tmp_path) as hub:
        data = {"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}
        status, said, headers = await hub.post("/v2/models/both/infer", {"inputs": [data]})
        assert (status, len(said["outputs"])) == (200, 2)
        found = re.search(r"compute;dur=([\d.]+)", headers["server-timing"])
        assert found
        assert 400 <= float(found[1]) < 700


async def test_a_step_that_fails_is_named_and_no_step_goes_on(tmp_path: Path) -> None:
    python_model(tmp_path, "double", tmp_path / "runs")
    write_model(
        tmp_path,
        "broken",
        f'backend: "python" {tensors("input", ["x"], dims="1")} {tensors("output", ["y"], dims="1")}',
        {
            "1/model.py": "class Model:\n    def __init__(self, directory, parameters):\n        pass\n\n    def predict(self, inputs):\n        raise RuntimeError('no')\n"
        },
    )
    ensemble(
        tmp_path,
        "chain",
        step("broken", {"x": "x"}, {"y": "between"}),
        step("double", {"x": "between"}, {"y": "y"}),
        inputs=tensors("input", ["x"], dims="1"),
        outputs=tensors("output", ["y"], dims="1"),
        most_rows=0,
    )
    async with running_hub(tmp_path) as hub:
        data = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
        status, said, _ = await hub.post("/v2/models/chain/infer", {"inputs": [data]})
        assert status == 500
        assert said["error"].startswith("step 1 (model 'broken') of ensemble 'chain': ")
        await eventually(
            lambda: all(lane.lane.idle for lanes in hub.gateway.table.routes.values() for lane in lanes)
        )


async def test_a_caller_that_leaves_takes_its_steps_along(tmp_path: Path) -> None:
    mock_model(tmp_path, "slow", delay_ms=60_000)
    ensemble(
        tmp_path,
        "late",
        step("slow", {"features": "x"}, {"class_id": "y"}),
        outputs=tensors("output", ["y"], "INT32", "1"),
        most_rows=0,
    )
    async with running_hub(tmp_path) as hub:
        data = {"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}
        call = asyncio.create_task(hub.post("/v2/models/late/infer", {"inputs": [data]}))
        (lane,) = hub.gateway.table.known("slow")
        await eventually(lambda: lane.lane.in_use.jobs == 1)
        call.cancel()
        await eventually(lambda: lane.lane.in_use.jobs == 0)
        headers = {"x-request-timeout-ms": "300"}
        status, said, _ = await hub.post("/v2/models/late/infer", {"inputs": [data]}, headers=headers)
        assert status == 504, said
        await eventually(lambda: lane.lane.in_use.jobs == 0)


async def test_the_steps_may_be_in_other_pools(tmp_path: Path) -> None:
    diamond(tmp_path / "all")
    for pool, names in (("one", ("neg", "diamond")), ("two", ("abs", "add"))):
        for name in names:
            (tmp_path / pool).mkdir(exist_ok=True)
            (tmp_path / "all" / name).rename(tmp_path / pool / name)
    async with (
        running_pod(tmp_path / "one", pool="one") as first,
        running_hub(tmp_path / "two", pod={"pool": "two"}) as hub,
    ):
        hub.gateway.fleet.discovery.met(f"127.0.0.1:{first.port}")
        await eventually(lambda: hub.gateway.table.is_open("diamond", ""))
        assert await infer(hub, "diamond") == (200, {name: flat(rows) for name, rows in DIAMOND.items()})


async def test_an_ensemble_waits_for_the_models_of_its_steps(tmp_path: Path) -> None:
    diamond(tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "abs").rename(tmp_path / "two" / "abs")
    async with running_hub(tmp_path / "one", hold_s=0.2) as hub:
        why = "step 3 (model 'abs'): no pod has the model"
        assert await infer(hub, "diamond") == (503, f"model 'diamond' does not serve: {why}")
        _, said, _ = await hub.get("/v2/models")
        (about,) = [one for one in said["models"] if one["name"] == "diamond"]
        assert about["reason"] == why
        async with running_pod(tmp_path / "two") as second:
            hub.gateway.fleet.discovery.met(f"127.0.0.1:{second.port}")
            await eventually(lambda: hub.gateway.table.is_open("diamond", ""))
            assert (await infer(hub, "diamond"))[0] == 200
        await eventually(lambda: not hub.gateway.table.is_open("diamond", ""))


async def test_steps_that_do_not_fit_together_are_refused_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node_model(tmp_path, "neg", "Neg")
    ensemble(
        tmp_path,
        "clash",
        step("neg", {"x": "x"}, {"y": "y"}),
        inputs=tensors("input", ["x"], "INT32"),
    )
    async with running_hub(tmp_path, hold_s=0.2) as hub:
        why = "step 1 (model 'neg'): its input 'x' is FP32 [-1, 3], and the tensor 'x' INT32 [-1, 3]"
        data = {"name": "x", "datatype": "INT32", "shape": [1, 3], "data": [1, 2, 3]}
        status, said, _ = await hub.post("/v2/models/clash/infer", {"inputs": [data]})
        assert (status, said["error"]) == (503, f"model 'clash' does not serve: {why}")
        async with running_pod(tmp_path) as second:
            hub.gateway.fleet.discovery.met(f"127.0.0.1:{second.port}")
            await eventually(lambda: sum(pod.up for pod in hub.gateway.fleet.pods.values()) == 2)
    (record,) = [one for one in caplog.records if one.getMessage() == "the steps of an ensemble do not fit"]
    assert (record.__dict__["model"], record.__dict__["reason"]) == ("clash", why)


async def test_ensembles_may_be_steps_of_others_but_not_of_each_other(tmp_path: Path) -> None:
    diamond(tmp_path)
    ensemble(
        tmp_path,
        "again",
        step("diamond", {"x": "x"}, {"minus": "back"}),
        step("neg", {"x": "back"}, {"y": "y"}),
    )
    for one, other in (("ring", "gnir"), ("gnir", "ring")):
        ensemble(tmp_path, one, step(other, {"x": "x"}, {"y": "y"}))
    async with running_hub(tmp_path, hold_s=0.2) as hub:
        assert await infer(hub, "again") == (200, {"y": flat(BY_THREE)})
        status, said = await infer(hub, "ring")
        assert (status, "call one another without end" in said) == (503, True)


async def test_a_pod_says_who_runs_the_steps(tmp_path: Path) -> None:
    diamond(tmp_path)
    async with running_pod(tmp_path) as pod, grpc.aio.insecure_channel(f"127.0.0.1:{pod.port}") as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        request = pb.ModelInferRequest(model_name="diamond", raw_input_contents=[bytes(12)])
        request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(request)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "is an ensemble, whose steps a gateway runs" in str(refused.value.details())
