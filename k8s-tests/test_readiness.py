"""Each model by itself: what is not loaded, or broke, takes no traffic; what works beside it does."""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import pytest
from cluster import DIRECT, QUICK, Release, eventually, mock_models, release

from tests.load import Load

LOAD_S = 12
SLOW = """backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }
"""
SLOW_MODEL = f"""import time

class Model:
    def __init__(self, directory, parameters):
        time.sleep({LOAD_S})

    def predict(self, inputs):
        return {{"y": inputs["x"]}}
"""
BROKEN_MODEL = "class Model:\n    def __init__(self, directory, parameters):\n        raise RuntimeError('no weights here')\n"


def values(**inference: Any) -> dict[str, Any]:
    models = mock_models(quick=QUICK)
    return {
        "models": models,
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
        "gateway": {"service": {"type": "NodePort"}},
        "inference": {"minReadySeconds": 0, **inference},
    }


def ask(hub: Release, model: str) -> tuple[int, str]:
    body = json.dumps({"features": [1], "model_name": model}).encode()
    try:
        with DIRECT.open(Request(f"{hub.url()}/predict", body), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


async def test_a_loaded_model_serves_while_its_neighbour_in_the_pod_is_loaded(figure: Any) -> None:
    with release(values(), "hub-loading") as hub:
        files = {"slow/config.pbtxt": SLOW, "slow/1/model.py": SLOW_MODEL}
        with_slow = values()
        with_slow["models"]["configMap"]["files"] |= files
        async with Load(hub.url(), workers=8) as load:
            old = hub.ready("inference")[0]
            upgrade = asyncio.create_task(asyncio.to_thread(hub.deploy, with_slow))
            await asyncio.to_thread(
                eventually,
                lambda: any(p.ip and p.name != old.name for p in hub.pods("inference")),
                "a new pod",
            )
            began = monotonic()
            new = next(pod for pod in hub.pods("inference") if pod.name != old.name)
            await upgrade
            await asyncio.sleep(3)
        # The gateway hears it from the pod itself, and Kubernetes calls the pod ready only once both models are loaded.
        waited = load.first[f"{new.ip}:50051"] - began
        figure(
            f"first request after {waited:.1f} s of a pod that loads for {LOAD_S} s; {len(load.failed)} of {load.good} failed"
        )
        assert not load.failed
        assert waited < LOAD_S - 2


def test_a_broken_model_takes_neither_its_pod_nor_its_neighbours_out() -> None:
    chosen = values()
    chosen["models"]["configMap"]["files"] |= {"broken/config.pbtxt": SLOW, "broken/1/model.py": BROKEN_MODEL}
    with release(chosen, "hub-broken") as hub:
        assert ask(hub, "quick")[0] == 200
        status, said = ask(hub, "broken")
        assert status == 503
        assert "no weights here" in said
        assert len(hub.ready("inference")) == 1


def test_a_pod_without_its_required_models_is_not_ready() -> None:
    with release(values(), "hub-required") as hub:
        chosen = values(requiredModels=["absent"])
        with pytest.raises(AssertionError, match=r"timed out|deadline"):
            hub.deploy(chosen, wait_s=20)
        pods = hub.pods("inference")
        assert [pod.ready for pod in pods].count(False) == 1, "the new pod is not ready"
        assert ask(hub, "quick")[0] == 200, "the old pod still serves"
