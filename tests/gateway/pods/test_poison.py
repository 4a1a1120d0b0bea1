"""A request that takes its whole pod along: it costs two pods at most, and no other request. Pods are real processes."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.pod_processes import gateway_to, pods_of
from tests.hub import Hub, eventually, write_model
from tests.onnx_files import INT64, one_node, tensor_type

pytestmark = pytest.mark.long

SOURCE = """
import os
import signal
import time


class Model:
    def __init__(self, directory, parameters):
        self.seconds = float(parameters["seconds"])

    def predict(self, inputs):
        x = inputs["x"]
        time.sleep(self.seconds)
        if (x < 0).any():
            os.kill(os.getppid(), int(parameter(x)))
            time.sleep(5)  # it gives no answer
        return {"y": x * 2}


def parameter(x):
    return -x.min()
"""
KILLED = (
    "model 'deadly': 2 pods were lost while they ran this request, the second time alone; "
    "it is not tried a third time"
)


def deadly_model(repository: Path, max_batch_size: int, instances: int, name: str = "deadly") -> None:
    """A model that doubles its rows; a negative number sends the signal of that number to its pod."""
    write_model(
        repository,
        name,
        f"""backend: "python"
        max_batch_size: {max_batch_size}
        input {{ name: "x" data_type: TYPE_FP32 dims: [2] }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [2] }}
        instance_group {{ count: {instances} kind: KIND_CPU }}
        parameters {{ key: "seconds" value {{ string_value: "0.05" }} }}""",
        {"1/model.py": SOURCE},
    )


async def ask(hub: Hub, value: float, rows: bool, model: str = "deadly") -> tuple[int, Any]:
    """Status, and the doubled values or the error, of a request with `value` and 1."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 2] if rows else [2], "data": [value, 1]}
    status, body, _ = await hub.post(f"/v2/models/{model}/infer", {"inputs": [x]})
    return status, body["outputs"][0]["data"] if status == 200 else body["error"]


def up(hub: Hub) -> int:
    """The number of pods that take work."""
    return sum(pod.up for pod in hub.gateway.fleet.pods.values())


@pytest.mark.parametrize(
    ("max_batch_size", "instances"), [(8, 1), (8, 3), (0, 3)], ids=["merged", "merged, 3 beside", "3 beside"]
)
async def test_a_request_that_kills_its_pod_costs_two_of_four_and_no_other_request(
    tmp_path: Path, max_batch_size: int, instances: int
) -> None:
    deadly_model(tmp_path, max_batch_size, instances)
    deadly_model(tmp_path, 0, 1, "beside")
    async with pods_of(*[tmp_path] * 4) as pods, gateway_to(*pods, hold_s=5) as hub:
        numbers = [float(number) for number in range(1, 120)]
        numbers[40] = -9
        calls = [ask(hub, number, bool(max_batch_size)) for number in numbers]
        beside = [ask(hub, float(number), False, "beside") for number in range(40)]
        answers = await asyncio.gather(*calls, *beside)
        assert answers[40] == (500, KILLED)
        right = [(200, [2 * number, 2.0]) for number in [*numbers, *range(40)]]
        assert [a for a in answers if a != (500, KILLED)] == right[:40] + right[41:]
        await eventually(lambda: up(hub) == 2)
        assert await ask(hub, 3, bool(max_batch_size)) == (200, [6.0, 2.0])
        assert up(hub) == 2


async def test_several_requests_that_kill_their_pods_do_not_get_others_blamed(tmp_path: Path) -> None:
    deadly_model(tmp_path, 8, 2)
    async with pods_of(*[tmp_path] * 6) as pods, gateway_to(*pods, hold_s=5) as hub:
        numbers = [float(number) for number in range(1, 120)]
        numbers[5] = numbers[6] = -9  # in one batch
        answers = await asyncio.gather(*[ask(hub, number, True) for number in numbers])
        counts = Counter(status for status, _ in answers)
        assert counts == {200: 117, 500: 2}
        assert {answer for answer in answers if answer[0] == 500} == {(500, KILLED)}
        assert [a for a in answers if a[0] == 200] == [(200, [2 * n, 2.0]) for n in numbers if n > 0]
        await eventually(lambda: up(hub) == 3)


async def test_two_pods_lost_at_once_cost_no_request(tmp_path: Path) -> None:
    deadly_model(tmp_path, 8, 2)
    async with pods_of(*[tmp_path] * 4) as pods, gateway_to(*pods, hold_s=5) as hub:
        calls = [asyncio.create_task(ask(hub, float(number), True)) for number in range(200)]
        await eventually(lambda: sum(call.done() for call in calls) > 20)
        for pod in pods[:2]:
            pod.send(9)  # type: ignore[arg-type]
        assert await asyncio.gather(*calls) == [(200, [2.0 * number, 2.0]) for number in range(200)]


async def test_a_request_that_freezes_its_pod_costs_two_of_three(tmp_path: Path) -> None:
    deadly_model(tmp_path, 0, 1)
    async with pods_of(*[tmp_path] * 3) as pods, gateway_to(*pods, hold_s=5) as hub:
        assert await ask(hub, -19, False) == (500, KILLED)
        assert await ask(hub, 3, False) == (200, [6.0, 2.0])
        assert up(hub) == 1


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="other processors divide without a trap"
)
async def test_a_division_that_crashes_onnxruntime_costs_two_of_four(tmp_path: Path) -> None:
    """The lowest number by -1 is out of range, and x86 answers that with a signal that ends the process."""
    kind = tensor_type(INT64, ["n"])
    write_model(
        tmp_path,
        "quotient",
        "",
        {"1/model.onnx": one_node("Div", {"a": kind, "b": kind}, tensor_type(INT64, ["n"]))},
    )
    deadly_model(tmp_path, 0, 1, "beside")

    async def divide(a: int, b: int) -> tuple[int, Any]:
        inputs = [
            {"name": name, "datatype": "INT64", "shape": [1], "data": [number]}
            for name, number in (("a", a), ("b", b))
        ]
        status, body, _ = await hub.post("/v2/models/quotient/infer", {"inputs": inputs})
        return status, body["outputs"][0]["data"] if status == 200 else body["error"]

    async with pods_of(*[tmp_path] * 4) as pods, gateway_to(*pods, hold_s=5) as hub:
        calls = [divide(6 * number, 3) for number in range(40)]
        beside = [ask(hub, float(number), False, "beside") for number in range(40)]
        deadly, *answers = await asyncio.gather(divide(-(2**63), -1), *calls, *beside)
        assert deadly == (500, KILLED.replace("deadly", "quotient"))
        assert answers[:40] == [(200, [2 * number]) for number in range(40)]
        assert answers[40:] == [(200, [2.0 * number, 2.0]) for number in range(40)]
        await eventually(lambda: up(hub) == 2)
        assert await divide(-(2**63), 2) == (200, [-(2**62)])
        assert up(hub) == 2
