"""Models that are loaded through the gateway on all pods, also those that come later, and one that calls another through the policies."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest
from asking_model import ASKS
from cluster import DIRECT, QUICK, Release, eventually, mock_models, release

MODELS = mock_models(quick=QUICK)
MODELS["configMap"]["files"] |= ASKS
VALKEY = {"repository": "inferencehub-valkey", "tag": "dev"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    values = {
        "gateway": {"service": {"type": "NodePort"}, "modelLoads": True, "replicas": 2},
        "inference": {
            "modelControl": "explicit", "loadModels": ["quick"], "modelCalls": {"enabled": True}, "replicas": 2,
            "autoscaling": {"source": "none"},
        },
        "jobs": {"redis": {"embedded": {"enabled": True, "image": VALKEY, "storage": {"persistent": False}}}},
        "models": MODELS,
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
    }  # fmt: skip
    with release(values, "hub-loads") as hub:
        yield hub


def post(hub: Release, path: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON of a POST."""
    try:
        with DIRECT.open(f"{hub.url()}{path}", json.dumps(body or {}).encode()) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def infer(hub: Release, model: str, name: str) -> tuple[int, list[int]]:
    """Status of an infer of four numbers, and the first output's values."""
    tensor = {"name": name, "datatype": "FP32", "shape": [4], "data": [0.5, 1.5, -2.0, 7.0]}
    status, said = post(hub, f"/v2/models/{model}/infer", {"inputs": [tensor]})
    return status, said["outputs"][0]["data"] if status == 200 else []


def test_a_model_is_loaded_on_all_pods_and_calls_another(hub: Release) -> None:
    assert infer(hub, "asks", "x")[0] in (404, 503)
    assert post(hub, "/v2/repository/models/asks/load") == (200, {})
    expected = infer(hub, "quick", "features")
    assert expected[0] == 200
    assert [infer(hub, "asks", "x") for _ in range(20)] == [expected] * 20


def test_a_pod_that_comes_later_has_it_too(hub: Release) -> None:
    hub.scale(3)
    pod = hub.ready("gateway")[0]

    def on_all_pods() -> bool:
        with (
            hub.forwarded(f"pod/{pod.name}", 9090) as address,
            DIRECT.open(f"http://{address}/metrics") as page,
        ):
            return 'inferencehub_gateway_slots{model="asks"} 3.0' in page.read().decode()

    eventually(on_all_pods, "all three pods serve it")
    assert post(hub, "/v2/repository/models/asks/unload") == (200, {})
    assert infer(hub, "asks", "x")[0] in (404, 503)
    assert infer(hub, "quick", "features")[0] == 200
