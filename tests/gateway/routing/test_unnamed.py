"""A /predict that names no model: with the sample models, with one model, with several, and with none."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import inference_pb2 as predict_pb
from tests.gateway.python_model import python_model, release
from tests.hub import MODELS, Hub, eventually, mock_model, running_gateway, running_hub, write_model
from tests.inference.pod_processes import predict_of

FEATURES, TEXT = {"features": [0.5, 1.2, -3.4]}, {"text": "I love this, it is not bad at all"}
DEFAULT = 'parameters { key: "default_for" value { string_value: "features" } }'
REFUSED = "model_name is missing, expected one of: "


async def predict(hub: Hub, body: dict[str, Any]) -> tuple[int, int, str]:
    """Status, class and error of a /predict."""
    status, answer, _ = await hub.post("/predict", body)
    return status, answer["class_id"], answer["error"]


async def predict_at_pod(hub: Hub, **fields: Any) -> int | str:
    """The class that the pod's own Predict gives, or its error."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.pods[0].port}") as channel:
        call = predict_of(channel)
        try:
            return int((await call(predict_pb.PredictRequest(**fields), timeout=60)).class_id)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {error.details()}"


async def test_the_samples_have_a_model_for_features_and_one_for_text() -> None:
    async with running_hub() as hub:
        assert await predict(hub, FEATURES) == (200, 3, "")
        assert await predict(hub, TEXT) == (200, 2, "")
        assert await predict_at_pod(hub, **FEATURES) == 3
        assert await predict_at_pod(hub, **TEXT) == 2


async def test_the_only_model_needs_no_name(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "nearest-colour", tmp_path / "colours")
    config = tmp_path / "colours" / "config.pbtxt"
    config.write_text(config.read_text().replace("nearest-colour", "colours"))
    async with running_hub(tmp_path) as hub:
        assert await predict(hub, {"features": [250, 10, 10]}) == (200, 2, "")
        assert await predict_at_pod(hub, features=[250, 10, 10]) == 2
        said = "model 'colours' takes numbers: expected 'features', got 'text'"
        assert await predict(hub, TEXT) == (400, -1, said)
        assert await predict_at_pod(hub, **TEXT) == f"INVALID_ARGUMENT {said}"


async def test_of_several_models_one_must_be_named(tmp_path: Path) -> None:
    """A model that cannot be loaded counts: the answer must not change when it is mended."""
    mock_model(tmp_path, "first")
    write_model(tmp_path, "second", 'backend: "onnxruntime"', {"1/model.onnx": b"no model"})
    async with running_hub(tmp_path) as hub:
        for body in (FEATURES, TEXT):
            assert await predict(hub, body) == (400, -1, f"{REFUSED}first, second")
            assert await predict_at_pod(hub, **body) == f"INVALID_ARGUMENT {REFUSED}first, second"
        assert (await predict(hub, {**FEATURES, "model_name": "first"}))[0] == 200


async def test_a_model_may_be_the_default_by_its_config_or_by_a_setting(tmp_path: Path) -> None:
    mock_model(tmp_path, "first", more=DEFAULT)
    shutil.copytree(MODELS / "sentiment", tmp_path / "feeling")
    config = tmp_path / "feeling" / "config.pbtxt"
    config.write_text(
        config.read_text().replace('"sentiment"', '"feeling"', 1).replace("default_for", "other")
    )
    async with running_hub(tmp_path) as hub:
        assert (await predict(hub, FEATURES))[0] == 200
        assert await predict(hub, TEXT) == (400, -1, f"{REFUSED}feeling, first")
    chosen: dict[str, Any] = {"default_model": "feeling", "default_text_model": "feeling"}
    async with running_hub(tmp_path, pod=chosen, **chosen) as hub:
        assert await predict(hub, TEXT) == (200, 2, "")
        assert await predict_at_pod(hub, **TEXT) == 2
        said = "model 'feeling' takes text: expected 'text', got 'features'"
        assert await predict(hub, FEATURES) == (400, -1, said)
        assert await predict_at_pod(hub, **FEATURES) == f"INVALID_ARGUMENT {said}"


async def test_models_of_two_pools_count_together(tmp_path: Path) -> None:
    mock_model(tmp_path / "a", "first")
    mock_model(tmp_path / "b", "second")
    async with running_hub(tmp_path / "a") as one, running_hub(tmp_path / "b") as other:
        assert (await predict(one, FEATURES))[0] == 200
        addresses = tuple(f"127.0.0.1:{hub.pods[0].port}" for hub in (one, other))
        async with running_gateway(addresses) as gateway:
            await eventually(lambda: sum(pod.up for pod in gateway.fleet.pods.values()) == 2)
            both = Hub(gateway, one.pods, one.client)
            assert await predict(both, FEATURES) == (400, -1, f"{REFUSED}first, second")


async def test_it_waits_for_a_pod_that_restarts(tmp_path: Path) -> None:
    mock_model(tmp_path, "only")
    async with running_hub(tmp_path, hold_s=0.2) as hub:
        await hub.pods[0].drain()
        await eventually(lambda: not hub.gateway.fleet.ready)
        said = "model 'only' cannot be reached: no pod serves it (waited 0.2 s)"
        assert await predict(hub, FEATURES) == (503, -1, said)


async def test_it_waits_for_the_first_pod() -> None:
    said = "a model for a request without model_name cannot be reached: no inference service is ready (waited 0.2 s)"
    async with running_gateway(("127.0.0.1:1",), hold_s=0.2) as gateway, aiohttp.ClientSession() as client:
        assert await predict(Hub(gateway, [], client), FEATURES) == (503, -1, said)


async def test_it_waits_for_models_that_are_being_loaded(tmp_path: Path) -> None:
    python_model(tmp_path, "slow", tmp_path / "log", held=True, more=DEFAULT)
    mock_model(tmp_path, "quick")
    settings = InferenceSettings(port=0, ops_port=0, models=str(tmp_path), drain_wait_s=0.0)
    pod = InferenceServer(settings)
    await pod.start()
    try:
        async with running_gateway((f"127.0.0.1:{pod.port}",), hold_s=20.0) as gateway:
            await eventually(lambda: any(one.catalog.loading for one in gateway.fleet.pods.values()))
            async with aiohttp.ClientSession() as client:
                hub = Hub(gateway, [pod], client)
                said = "UNAVAILABLE model 'slow' does not serve: it is still loading"
                assert await predict_at_pod(hub, **FEATURES) == said
                asked = asyncio.create_task(predict(hub, {"features": [1, 3, 2]}))
                await asyncio.sleep(0.2)
                assert not asked.done()
                release(tmp_path, "slow")
                status, _, said = await asked
                assert (status, "/predict cannot serve model 'slow'" in said) == (501, True), said
    finally:
        await pod.stop()


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_a_sleeping_pools_models_count(tmp_path: Path, count: int) -> None:
    names = ["first", "second"][:count]
    mock_model(tmp_path, "third")
    on_demand = tuple(f"asleep/{name}:4" for name in names)
    async with running_hub(tmp_path, on_demand_models=on_demand) as hub:
        said = "" if not count else REFUSED + ", ".join([*names, "third"])
        status, _, error = await predict(hub, FEATURES)
        assert (status, error) == (400 if count else 200, said)
