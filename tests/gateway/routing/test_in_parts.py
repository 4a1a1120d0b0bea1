"""Requests with more rows than their model takes at a time: they run in parts, and are answered as one."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import pytest

from tests import onnx_files as onnx
from tests.gateway.routing.ensembles.models import node_model
from tests.hub import Hub, eventually, mock_model, running_hub, write_model

ROW = 'input {{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }} output {{ name: "y" data_type: TYPE_FP32 dims: [ {} ] }}'
STRANGE = """
import os
import time

import numpy as np


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        x = inputs["x"]
        if (x < 0).any():
            time.sleep(60)
        if (x > 900).any():
            raise ValueError("it is too large")
        return {"y": np.zeros((len(x), 2 + int(x.max()) // 100), np.float32)}
"""


def body(values: list[float], width: int = 1) -> dict[str, Any]:
    shape = [len(values) // width, width]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": values}]}


async def nothing_held(hub: Hub) -> None:
    """Wait until no lane has a job, and no byte is held: sooner than deadlines would see to it."""
    table = hub.gateway.table
    lanes = [lane for known in table.routes.values() for lane in known]
    await eventually(lambda: table.bytes_held.held == 0 and all(lane.lane.idle for lane in lanes), 15)


@pytest.mark.parametrize("rows", [9, 64, 1000])
async def test_the_answer_has_all_rows_in_their_order(rows: int, tmp_path: Path) -> None:
    node_model(tmp_path, "neg", "Neg", most_rows=8)
    async with running_hub(tmp_path) as hub:
        values = [float(number) for number in range(1, 3 * rows + 1)]
        status, said, headers = await hub.post("/v2/models/neg/infer", body(values, 3))
        assert status == 200, said
        (output,) = said["outputs"]
        assert output["shape"] == [rows, 3]
        assert output["data"] == [-value for value in values]
        assert "compute;dur=" in headers["server-timing"]
        await nothing_held(hub)
        metrics = await hub.metrics()
        assert f'inferencehub_gateway_batch_rows_sum{{model="neg"}} {float(rows)}' in metrics


async def test_texts_and_binary_tensors_are_cut_too(tmp_path: Path) -> None:
    texts = onnx.tensor_type(onnx.STRING, ["n", 1])
    content = onnx.one_node("Identity", {"x": texts}, texts)
    write_model(tmp_path, "same", "max_batch_size: 3", {"1/model.onnx": content})
    node_model(tmp_path, "neg", "Neg", most_rows=4)
    async with running_hub(tmp_path) as hub:
        words = ["", "größer", "a" * 300, "\x00", "e", "f", "g"]
        data = {"name": "x", "datatype": "BYTES", "shape": [7, 1], "data": words}
        status, said, _ = await hub.post("/v2/models/same/infer", {"inputs": [data]})
        assert (status, said["outputs"][0]["data"]) == (200, words)
        raw = struct.pack("<30f", *range(30))
        head = (
            b'{"inputs":[{"name":"x","datatype":"FP32","shape":[10,3],"parameters":{"binary_data_size":120}}],'
            b'"parameters":{"binary_data_output":true}}'
        )
        headers = {"inference-header-content-length": str(len(head))}
        async with hub.client.post(
            f"{hub.url}/v2/models/neg/infer", data=head + raw, headers=headers
        ) as answer:
            found = (await answer.read())[int(answer.headers["inference-header-content-length"]) :]
        assert struct.unpack("<30f", found) == tuple(-number for number in range(30))


async def test_a_part_that_fails_fails_the_request_and_nothing_is_left(tmp_path: Path) -> None:
    config = f'backend: "python" max_batch_size: 2 {ROW.format(-1)} instance_group {{ count: 2 }}'
    write_model(tmp_path, "strange", config, {"1/model.py": STRANGE})
    async with running_hub(tmp_path) as hub:
        path = "/v2/models/strange/infer"
        status, said, _ = await hub.post(path, body([1.0] * 99 + [901.0]))
        assert (status, "it is too large" in said["error"]) == (400, True)
        await nothing_held(hub)
        status, said, _ = await hub.post(path, body([1.0, 1.0, 1.0, 101.0, 1.0]))
        assert (status, "outputs of different names or shapes to parts" in said["error"]) == (500, True)
        await nothing_held(hub)


async def test_a_caller_that_leaves_or_whose_time_is_over_takes_all_parts_along(tmp_path: Path) -> None:
    config = f'backend: "python" max_batch_size: 2 {ROW.format(-1)}'
    write_model(tmp_path, "strange", config, {"1/model.py": STRANGE})
    async with running_hub(tmp_path, pod={"model_grace_s": 0.1}) as hub:
        path = "/v2/models/strange/infer"
        headers = {"x-request-timeout-ms": "500"}
        status, said, _ = await hub.post(path, body([-1.0] * 100), headers=headers)
        assert status == 504, said
        await nothing_held(hub)
        call = asyncio.create_task(hub.post(path, body([-1.0] * 100)))
        (lane,) = hub.gateway.table.known("strange")
        await eventually(lambda: lane.lane.in_use.jobs > 0)
        call.cancel()
        await nothing_held(hub)


async def test_a_request_may_have_more_rows_than_may_wait_and_leaves_room_for_others(tmp_path: Path) -> None:
    node_model(tmp_path, "neg", "Neg", most_rows=8)
    async with running_hub(tmp_path, queue_length=20) as hub:
        large = [hub.post("/v2/models/neg/infer", body([1.0] * 3000, 3)) for _ in range(2)]
        small = hub.post("/v2/models/neg/infer", body([1.0] * 3, 3))
        assert [status for status, _, _ in await asyncio.gather(*large, small)] == [200] * 3
        await nothing_held(hub)


async def test_a_full_queue_refuses_a_request_before_its_first_part_and_nothing_is_left(
    tmp_path: Path,
) -> None:
    config = f'backend: "python" max_batch_size: 2 {ROW.format(-1)}'
    write_model(tmp_path, "strange", config, {"1/model.py": STRANGE})
    async with running_hub(tmp_path, pod={"model_grace_s": 0.1}, queue_length=2) as hub:
        path = "/v2/models/strange/infer"
        others = [asyncio.create_task(hub.post(path, body([-1.0] * 2))) for _ in range(3)]
        (lane,) = hub.gateway.table.known("strange")
        await eventually(lambda: lane.lane.queue.full)
        status, said, _ = await hub.post(path, body([1.0] * 100))
        assert (status, "is busy" in said["error"]) == (429, True)
        for other in others:
            other.cancel()
        await nothing_held(hub)


async def test_a_model_that_does_not_batch_takes_no_more(tmp_path: Path) -> None:
    mock_model(tmp_path, "one")
    write_model(
        tmp_path, "strange", f'backend: "python" max_batch_size: 2 {ROW.format(-1)}', {"1/model.py": STRANGE}
    )
    async with running_hub(tmp_path) as hub:
        status, said, _ = await hub.post("/v2/models/strange/infer", body([]))
        assert (status, "0 rows in the request, expected 1 to 20000" in said["error"]) == (400, True)


async def test_rows_without_bytes_have_an_end(tmp_path: Path) -> None:
    rows = onnx.tensor_type(onnx.FLOAT, ["n", "m"])
    content = onnx.one_node("Neg", {"x": rows}, rows)
    write_model(tmp_path, "neg", "max_batch_size: 4", {"1/model.onnx": content})
    async with running_hub(tmp_path) as hub:
        for count in (40_001, 2**40):
            data = {"name": "x", "datatype": "FP32", "shape": [count, 0], "data": []}
            status, said, _ = await hub.post("/v2/models/neg/infer", {"inputs": [data]})
            why = f"model 'neg': {count} rows in the request, expected 1 to 40000"
            assert (status, said["error"]) == (400, why)
