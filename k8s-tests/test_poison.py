"""A request that takes its whole container along, as an OOM kill does: it costs two pods at most, and no other request."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from cluster import QUICK, Release, eventually, mock_models, release

from tests.load import Load

PODS = 4
DEADLY = """backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }
"""
# Process 1 can't be killed from within its container; it ends with the service, and then the container has ended.
DEADLY_MODEL = """import os, time

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        time.sleep(0.05)
        if (inputs["x"] < 0).any():
            os.kill(-1, 9)
            time.sleep(5)
        return {"y": 2 * inputs["x"]}
"""


async def ask(client: aiohttp.ClientSession, hub: str, value: float) -> tuple[int, Any]:
    """Status, and the doubled value or the error."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}
    async with client.post(f"{hub}/v2/models/deadly/infer", json={"inputs": [x]}) as answer:
        said = await answer.json()
        return answer.status, said["outputs"][0]["data"][0] if answer.status == 200 else said["error"]


def lost(hub: Release) -> int:
    """How many containers of the inference tier have been started again."""
    return sum(pod.restarts for pod in hub.pods("inference"))


async def test_a_request_that_kills_its_container_costs_two_pods_and_no_other_request(figure: Any) -> None:
    models = mock_models(quick=QUICK)
    models["configMap"]["files"] |= {"deadly/config.pbtxt": DEADLY, "deadly/1/model.py": DEADLY_MODEL}
    values = {
        "models": models,
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
        "gateway": {"service": {"type": "NodePort"}},
        "inference": {"replicas": PODS},
    }
    with release(values, "hub-poison") as hub:
        url = hub.url()
        await asyncio.to_thread(eventually, lambda: hub.backends_up() == PODS, "all pods up")
        async with aiohttp.ClientSession() as client, Load(url, workers=8) as load:
            numbers = [float(number) for number in range(1, 81)]
            numbers[40] = -1.0
            answers = await asyncio.gather(*[ask(client, url, number) for number in numbers])
            # Kubernetes starts a container again at once, and says so a moment later.
            await asyncio.to_thread(eventually, lambda: lost(hub) == 2, "two containers are started again")
            await asyncio.to_thread(eventually, lambda: len(hub.ready("inference")) == PODS, "all are ready")
            await asyncio.sleep(3)
        failed = len([answer for answer in answers if answer[0] != 200])
        figure(
            f"{lost(hub)} of {PODS} containers lost; {failed} of {len(answers)} merged requests of the model and "
            f"{len(load.failed)} of {load.good} beside it failed"
        )
        status, said = answers.pop(40)
        assert status == 500
        assert "2 pods were lost while they ran this request" in said
        assert answers == [(200, 2 * number) for number in numbers if number > 0]
        assert not load.failed
        assert lost(hub) == 2
