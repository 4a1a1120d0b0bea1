"""Why a model does not serve: the newest reason, and the same one wherever a caller asks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.values.errors import listed
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.pod_processes import Name, gateway_to, pods_of
from tests.gateway.python_model import double, python_model
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub, running_pod

pytestmark = pytest.mark.long


async def reasons(hub: Hub, model: str) -> tuple[str, str]:
    """What /v2/models and the model's ready page say about a model that does not serve."""
    _, said, _ = await hub.get("/v2/models")
    [reason] = [one["reason"] for one in said["models"] if one["name"] == model]
    status, said, _ = await hub.get(f"/v2/models/{model}/ready")
    assert status == 503
    return reason, said["error"]


async def test_after_a_rollout_whose_model_does_not_load_the_newest_reason_is_given_at_once(
    tmp_path: Path,
) -> None:
    releases = [tmp_path / name for name in ("good", "broken", "worse")]
    for release in releases:
        python_model(release, "m", tmp_path / "runs")
        mock_model(release)
    (releases[1] / "m" / "1" / "broken").touch()
    (releases[2] / "m" / "1" / "model.py").unlink()
    async with pods_of(*releases) as (good, broken, worse):
        name = Name(good)
        async with gateway_to(good, name=name, hold_s=300.0, resolve_s=0.1) as hub, asyncio.timeout(60):
            assert await double(hub, "m", 1.0) == (200, [2.0], good.address)
            for pod, why in ((broken, "it is broken"), (worse, "is not there")):
                name.addresses = {pod.address}
                await eventually(
                    lambda pod=pod: (
                        [a for a, one in hub.gateway.fleet.pods.items() if one.up]
                        == [pod.address]
                        == list(hub.gateway.fleet.pods)
                    )
                )
                status, said, _ = await double(hub, "m", 1.0)
                reason, not_ready = await reasons(hub, "m")
                assert why in reason
                assert (status, said) == (503, f"model 'm' does not serve: {reason}")
                assert not_ready == f"model 'm' is not ready: {reason}"
            name.addresses = {broken.address, worse.address}  # both are there, and the other one is the newer
            await eventually(lambda: sum(one.up for one in hub.gateway.fleet.pods.values()) == 2)
            await eventually(lambda: "it is broken" in hub.gateway.table.models()["m"])
            assert "it is broken" in (await double(hub, "m", 1.0))[1]
            name.addresses = {good.address}
            await eventually(lambda: hub.gateway.table.is_open("m", ""))
            assert await double(hub, "m", 1.0) == (200, [2.0], good.address)


async def test_a_model_whose_pod_may_come_back_is_waited_for(tmp_path: Path) -> None:
    python_model(tmp_path / "good", "m", tmp_path / "runs")
    mock_model(tmp_path / "good")
    python_model(tmp_path / "broken", "m", tmp_path / "runs")
    mock_model(tmp_path / "broken")
    (tmp_path / "broken" / "m" / "1" / "broken").touch()
    async with (
        pods_of(tmp_path / "good", tmp_path / "broken") as (good, broken),
        gateway_to(good, broken, hold_s=60) as hub,
    ):
        good.send(9)  # type: ignore[arg-type]
        await good.ended()
        await eventually(lambda: not hub.gateway.table.is_open("m", ""))
        waiting = asyncio.create_task(double(hub, "m", 1.0))
        await eventually(lambda: hub.gateway.table.known("m")[0].lane.queue.rows == 1)
        await good.start()
        assert await waiting == (200, [2.0], good.address)


async def test_models_of_a_pool_that_sleeps_say_so_and_how_to_wake_it(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path, pool="cpu") as pod:
        on_demand, address = ("cpu/quick:4",), f"127.0.0.1:{pod.port}"
        async with (
            running_gateway((address,), hold_s=0.1, activation_s=0.1, on_demand_models=on_demand) as gateway,
            aiohttp.ClientSession() as client,
        ):
            hub = Hub(gateway, [], client)
            await eventually(lambda: gateway.table.is_open("quick", ""))
            await pod.stop()
            await eventually(lambda: not gateway.fleet.ready)
            asleep = "its pool sleeps and has no pod, a request for the model wakes it"
            assert await reasons(hub, "quick") == (asleep, f"model 'quick' is not ready: {asleep}")


async def test_a_404_names_models_up_to_a_limit_on_both_tiers(tmp_path: Path) -> None:
    for number in range(30):
        mock_model(tmp_path, f"m{number:02}")
    async with running_hub(tmp_path) as hub:
        await eventually(lambda: len(hub.gateway.table.models()) == 30)
        names = ", ".join(f"m{number:02}" for number in range(20))
        said = f"model 'none' is unknown, expected one of: {names} and 10 more"
        assert (await hub.get("/v2/models/none"))[:2] == (404, {"error": said})
        status, body, _ = await hub.post("/predict", {"features": [1], "model_name": "none"})
        assert (status, body["error"]) == (404, said)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.pods[0].port}") as channel:
            call: Any = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelMetadata",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=pb.ModelMetadataResponse.FromString,
            )
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call(pb.ModelMetadataRequest(name="none"))
            assert refusal.value.details() == said


def test_names_are_listed_up_to_a_limit() -> None:
    assert listed([]) == "none"
    assert listed(["a", "b" * 99]) == f"a, {'b' * 80}"
    assert listed(map(str, range(20))).endswith(", 19")
    assert listed(map(str, range(21))).endswith(", 19 and 1 more")
