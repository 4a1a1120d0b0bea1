"""Loads and unloads through a gateway: what they change, what they refuse, and what they answer."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.process.settings import SettingError
from inferencehub.gateway.calls.extensions import REPOSITORY
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.keyed_hub import bearer, entry, failure, over_grpc
from tests.gateway.pod_processes import Name, gateway_to
from tests.gateway.routing.control.loading import change, loading_gateway, pods_to_load, value
from tests.hub import Hub, eventually, mock_model, write_model
from tests.inference.models.control.valued import answer, index
from tests.inference.pod_processes import calling_pod

UNLOADED = "it was unloaded"
Load, Unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
CONFIG = {
    "backend": "python",
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
    "parameters": {"held": {"string_value": "none"}},
    "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
}


async def test_a_load_and_an_unload_change_all_pods(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models) as pods, loading_gateway(tmp_path, *pods, hold_s=0.0) as hub:
        assert await value(hub) == 503
        assert (await hub.get("/v2"))[1]["extensions"][-2:] == list(REPOSITORY)
        assert await change(hub, "load") == (200, "")
        assert await value(hub) == 1, "calls find it at once"
        assert [await answer(pod) for pod in pods] == [1, 1]
        (models / "m" / "1" / "value.txt").write_text("2")
        assert await change(hub, "load") == (200, "")
        assert [await answer(pod) for pod in pods] == [2, 2], "a load of a model that serves loads it again"
        assert await change(hub, "unload") == (200, "")
        for pod in pods:
            assert await index(pod) == {"1": ("UNAVAILABLE", UNLOADED)}
        assert await value(hub) == 503
        assert await change(hub, "load") == (200, "")
        assert await value(hub) == 2


async def test_the_same_over_grpc(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models) as pods, loading_gateway(tmp_path, *pods) as hub:
        config = pb.ModelRepositoryParameter(string_param=json.dumps(CONFIG))
        async with over_grpc(hub, "RepositoryModelLoad", Load, pb.RepositoryModelLoadResponse) as load:
            await load(Load(model_name="m", parameters={"config": config}))
            assert [pod.server.models.get("m").info.slots for pod in pods] == [2, 2]
            assert await value(hub) == 1
            assert (await failure(load(Load(model_name="nobody"))))[0] == "NOT_FOUND"
        async with over_grpc(
            hub, "RepositoryModelUnload", Unload, pb.RepositoryModelUnloadResponse
        ) as unload:
            await unload(Unload(model_name="m"))
            assert [await index(pod) for pod in pods] == [{"1": ("UNAVAILABLE", UNLOADED)}] * 2


async def kept(hub: Hub) -> int:
    """The revision of what the store keeps of m."""
    assert hub.gateway.jobs is not None
    known = await hub.gateway.jobs.jobs.store.wishes.read(0)
    assert known is not None
    return known.wishes["m"].revision


async def test_a_load_that_fails_leaves_what_serves_and_what_was_wished(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models) as pods, loading_gateway(tmp_path, *pods) as hub:
        await change(hub, "load")
        wished = await kept(hub)
        (models / "m" / "1" / "value.txt").write_text("one")
        status, said = await change(hub, "load")
        assert status == 400
        assert said.startswith("model 'm' was not loaded: ")
        assert said.endswith("; no pod made the change)")
        assert any(f"(at pod {pod.address}; " in said for pod in pods)
        assert await value(hub) == 1
        assert await kept(hub) == wished, "pods that start later load what the others have"
        (models / "m" / "1" / "value.txt").write_text("2")
        assert await change(hub, "load") == (200, "")
        assert await kept(hub) > wished
        assert await value(hub) == 2


async def test_one_pod_that_fails_is_named_and_told_again(models: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "m").mkdir()
    (other / "m" / "config.pbtxt").write_text("no config")
    async with (
        calling_pod(models, model_control="explicit") as good,
        calling_pod(other, model_control="explicit") as bad,
        loading_gateway(tmp_path, good, bad) as hub,
    ):
        status, said = await change(hub, "load")
        assert status == 400
        assert said.endswith(f"(at pod {bad.address}; {good.address} made the change)")
        assert await value(hub) == 1
        assert hub.gateway.control is not None
        told = hub.gateway.control._pods._told
        channel = hub.gateway.fleet.pods[bad.address].channel
        assert channel is not None
        write_model(
            other,
            "m",
            (models / "m" / "config.pbtxt").read_text(),
            {"1/value.txt": "1", "1/model.py": (models / "m" / "1" / "model.py").read_text()},
        )
        told[channel]["m"] = told[channel]["m"]._replace(again=0)  # the time is over
        await eventually(lambda: bad.server.models.serves("m"))
        assert await answer(bad) == 1


async def test_pods_of_other_pools_are_left_alone(models: Path, tmp_path: Path) -> None:
    mock_model(tmp_path / "other", "else")
    async with (
        calling_pod(models, model_control="explicit") as own,
        calling_pod(tmp_path / "other", model_control="explicit") as other,
        calling_pod(tmp_path / "other") as fixed,
        loading_gateway(tmp_path, own, other, fixed) as hub,
    ):
        assert await change(hub, "load") == (200, "")
        assert await change(hub, "load", "else") == (200, "")
        assert own.server.models.serves("m")
        assert other.server.models.serves("else")
        assert await change(hub, "load", "nobody") == (404, "model 'nobody' is in the repository of no pod")
        assert await change(hub, "unload", "nobody") == (404, "model 'nobody' is in the repository of no pod")
        assert await change(hub, "load", "x" * 600) == (
            404,
            f"model '{'x' * 80}' is in the repository of no pod",
        )


async def test_names_that_no_pod_knows_leave_nothing_behind(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models, 1) as pods, loading_gateway(tmp_path, *pods) as hub:
        assert await change(hub, "load") == (200, "")
        for number in range(5):
            assert (await change(hub, "load", f"nobody-{number}"))[0] == 404
        assert hub.gateway.control is not None
        (told,) = hub.gateway.control._pods._told.values()
        assert list(told) == ["m"]


async def test_an_unload_may_take_the_steps_of_an_ensemble_along(models: Path, tmp_path: Path) -> None:
    step = 'model_name: "quick" input_map { key: "features" value: "X" } output_map { key: "class_id" value: "Y" }'
    write_model(models, "whole", f"""platform: "ensemble"
        input {{ name: "X" data_type: TYPE_FP32 dims: [-1] }}
        output {{ name: "Y" data_type: TYPE_INT32 dims: [1] }}
        ensemble_scheduling {{ step {{ {step} }} }}""")  # fmt: skip
    async with pods_to_load(models) as pods, loading_gateway(tmp_path, *pods) as hub:
        for name in ("m", "quick", "whole"):
            assert await change(hub, "load", name) == (200, "")
        assert await change(hub, "unload", "whole", unload_dependents=True) == (200, "")
        for pod in pods:
            assert [name for name in ("whole", "quick", "m") if pod.server.models.serves(name)] == ["m"]


@pytest.mark.parametrize(
    ("what", "parameters", "status", "sentence"),
    [
        ("load", {"file:1/model.py": "eA=="}, 501, "parameter 'file:1/model.py': a gateway takes no files, for pods"),
        ("load", {"config": 1}, 400, "parameter 'config' of a load is unknown or has another type"),
        ("load", {"config": "x" * 65_537}, 413, "parameter 'config' has 65537 bytes, expected 65536 at most"),
        ("load", {"config": "{"}, 400, "no configuration in JSON"),
        ("load", {"hub_revision": 7}, 400, "parameter 'hub_revision' of a load is unknown"),
        ("unload", {"config": "{}"}, 400, "parameter 'config' of an unload is unknown"),
        ("unload", {"unload_dependents": 1}, 400, "expected 'unload_dependents' with true or false"),
        ("load", {"config": 1.5}, 400, "parameters"),
    ],
)  # fmt: skip
async def test_what_is_asked_for_wrongly_is_said(
    models: Path, tmp_path: Path, what: str, parameters: dict[str, Any], status: int, sentence: str
) -> None:
    async with pods_to_load(models, 1) as pods, loading_gateway(tmp_path, *pods) as hub:
        found, said = await change(hub, what, **parameters)
        assert (found, sentence in said) == (status, True), said


async def test_without_the_setting_and_without_such_pods_it_is_refused(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models, 1) as pods, gateway_to(*pods) as hub:  # type: ignore[arg-type]
        status, said = await change(hub, "load")
        assert (status, "without HUB_MODEL_LOADS" in said) == (501, True)
    async with calling_pod(models) as fixed, loading_gateway(tmp_path, fixed) as hub:
        status, said = await change(hub, "load")
        assert (status, "expected pods whose HUB_MODEL_CONTROL is explicit" in said) == (501, True)
    async with (
        pods_to_load(models, 1) as pods,
        loading_gateway(tmp_path, *pods, on_demand_models=("night/sleeper:1",)) as hub,
    ):
        said = "no pod of the pool of model 'sleeper' is up: a call of the model wakes it"
        assert await change(hub, "load", "sleeper") == (503, said)
    async with loading_gateway(tmp_path, name=Name()) as hub:
        status, said = await change(hub, "unload")
        assert (status, said) == (503, "no pod is up that could load or unload models")
    with pytest.raises(SettingError, match="HUB_MODEL_LOADS is true without HUB_JOBS"):
        GatewaySettings(model_loads=True)


async def test_a_change_goes_on_when_its_caller_waits_no_longer(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models, 1) as pods, loading_gateway(tmp_path, *pods) as hub:
        limit = {"x-request-timeout-ms": "1"}
        status, said, _ = await hub.post("/v2/repository/models/m/load", headers=limit)
        assert (status, said["error"]) == (
            504,
            "model 'm' has not changed at all pods within 0.001 s; the change goes on",
        )
        await eventually(lambda: pods[0].server.models.serves("m"))
        assert hub.gateway.control is not None
        await eventually(lambda: "m" in hub.gateway.control._wishes)


async def test_a_change_is_kept_before_the_slowest_pod_has_made_it(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "slow")
    program = tmp_path / "slow" / "m" / "1" / "model.py"
    program.write_text(f"import time\ntime.sleep(8)\n{program.read_text()}")
    async with (
        calling_pod(models, model_control="explicit") as quick,
        calling_pod(tmp_path / "slow", model_control="explicit") as slow,
        loading_gateway(tmp_path, quick, slow) as hub,
    ):
        loading = asyncio.create_task(change(hub, "load"))
        assert hub.gateway.control is not None
        await eventually(lambda: "m" in hub.gateway.control._wishes)
        assert not slow.server.models.serves("m")
        assert await loading == (200, "")
        assert slow.server.models.serves("m")


async def test_only_callers_with_control_and_the_model_may_change_it(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys.json"
    entries = [entry("all"), entry("admin", actions=["control"], models=["m", "nobody"])]
    keys.write_text(json.dumps({"keys": entries}))
    async with pods_to_load(models, 1) as pods, loading_gateway(tmp_path, *pods, api_keys=str(keys)) as hub:
        assert await load_with(hub, "all") == (403, "key 'all' may not control, it may describe, infer")
        assert await load_with(hub, "admin", "quick") == (403, "key 'admin' may not use model 'quick'")
        with caplog.at_level(logging.INFO):
            assert await load_with(hub, "admin") == (200, "")
            async with over_grpc(
                hub, "RepositoryModelUnload", Unload, pb.RepositoryModelUnloadResponse
            ) as unload:
                await unload(Unload(model_name="m"), metadata=bearer("admin").items())
        said_by = [record.__dict__ for record in caplog.records if record.message == "control"]
        lines = [
            line["call"] for line in said_by if line["caller"] == "admin"
        ]  # pods write that a gateway called
        assert lines == ["POST /v2/repository/models/m/load", "RepositoryModelUnload"]
        status, said = await load_with(hub, "admin", "nobody")
        assert (status, "quick" in said) == (404, False), "it names no models that the caller does not see"


async def load_with(hub: Hub, key: str, name: str = "m") -> tuple[int, str]:
    """A load with a key."""
    status, said, _ = await hub.post(f"/v2/repository/models/{name}/load", headers=bearer(key))
    return status, said.get("error", "")


@pytest.mark.long
async def test_changes_at_once_end_as_the_last_one_says(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models) as pods, loading_gateway(tmp_path, *pods) as hub:
        for _ in range(3):
            ended = await asyncio.gather(*[change(hub, what) for what in ("load", "unload", "load")])
            assert {status for status, _ in ended} <= {200, 409}
            assert 200 in {status for status, _ in ended}
            last = [await index(pod) for pod in pods]
            assert last[0] == last[1]
