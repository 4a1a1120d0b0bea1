"""HUB_MODEL_CONTROL=explicit: models that calls load and unload, as in Triton."""

from __future__ import annotations

import asyncio
import json
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from glob import glob
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.core.process.settings import SettingError
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually, mock_model, write_model
from tests.inference.models.control.valued import SOURCE, WAIT, answer, calling, index, samples, valued
from tests.inference.pod_processes import Pod, calling_pod, features

Parameter = pb.ModelRepositoryParameter


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with two models."""
    valued(tmp_path / "models", {"1": "1"})
    mock_model(tmp_path / "models", "quick")
    return tmp_path / "models"


@asynccontextmanager
async def told_pod(models: Path, *at_start: str, **settings: Any) -> AsyncIterator[Pod]:
    """A pod that does what calls say."""
    async with calling_pod(models, model_control="explicit", load_models=at_start, **settings) as pod:
        yield pod


async def load(pod: Pod, name: str = "m", **parameters: Parameter) -> None:
    """RepositoryModelLoad."""
    call = pod.channel.unary_unary(
        f"/{messages.SERVICE}/RepositoryModelLoad",
        request_serializer=pb.RepositoryModelLoadRequest.SerializeToString,
        response_deserializer=pb.RepositoryModelLoadResponse.FromString,
    )
    await call(pb.RepositoryModelLoadRequest(model_name=name, parameters=parameters))


async def unload(pod: Pod, name: str = "m", **parameters: Parameter) -> None:
    """RepositoryModelUnload."""
    call = pod.channel.unary_unary(
        f"/{messages.SERVICE}/RepositoryModelUnload",
        request_serializer=pb.RepositoryModelUnloadRequest.SerializeToString,
        response_deserializer=pb.RepositoryModelUnloadResponse.FromString,
    )
    await call(pb.RepositoryModelUnloadRequest(model_name=name, parameters=parameters))


async def refusal(work: Any) -> tuple[str, str]:
    """Status code and sentence of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work
    return caught.value.code().name, caught.value.details() or ""


async def test_nothing_is_loaded_before_a_call_says_so(models: Path) -> None:
    async with told_pod(models) as pod:
        assert await pod.health(), "it is ready for calls that load models"
        assert not await pod.health("m")
        assert await index(pod) == {"": ("UNAVAILABLE", "it has not been loaded")}
        assert (await pod.refusal(calling()))[0] == "UNAVAILABLE"
        ready = await samples(pod, "inferencehub_inference_model_ready")
        assert not ready, "no alarm for what nobody asked for"
        await load(pod)
        assert await answer(pod) == 1
        assert await pod.health("m")
        assert await index(pod) == {"1": ("READY", "")}
        assert (await pod.refusal(features("quick", 1)))[0] == "UNAVAILABLE"


async def test_the_index_shows_what_a_load_would_find_now(models: Path) -> None:
    absent = {"": ("UNAVAILABLE", "it has not been loaded")}
    async with told_pod(models, repository_poll_s=0.05) as pod:
        valued(models, {"1": "3"}, name="late")
        await eventually(lambda: "late" in pod.server.models.names())
        assert await index(pod, "late") == absent
        away = shutil.move(models, models.parent / "away")  # a volume that is away for a moment
        await asyncio.sleep(0.2)
        assert await index(pod, "late") == absent
        shutil.move(away, models)
        await load(pod, "late")
        shutil.rmtree(models / "late")
        shutil.rmtree(models / "quick")
        await eventually(lambda: "quick" not in pod.server.models.names())
        assert await answer(pod, name="late") == 3, "what serves stays"
        assert await index(pod, "late") == {"1": ("READY", "")}


async def test_models_that_come_and_go_unloaded_leave_nothing(models: Path) -> None:
    async with told_pod(models, repository_poll_s=0.05) as pod:
        shown = pod.server.models.metrics.shown._models
        before = len(shown)
        for _ in range(3):
            mock_model(models, "guest")
            await eventually(lambda: "guest" in pod.server.models.names())
            shutil.rmtree(models / "guest")
            await eventually(lambda: "guest" not in pod.server.models.names())
        assert len(shown) == before


@pytest.mark.parametrize(("at_start", "loaded"), [(("m",), {"m"}), (("*",), {"m", "quick"})])
async def test_the_start_loads_what_the_setting_says(
    models: Path, at_start: tuple[str, ...], loaded: set[str]
) -> None:
    async with told_pod(models, *at_start) as pod:
        assert {name for name in ("m", "quick") if pod.server.models.serves(name)} == loaded


async def test_a_load_takes_new_files_and_an_unload_finishes_calls(models: Path) -> None:
    held = models.parent / "held"
    held.touch()
    async with told_pod(models, "m") as pod:
        (models / "m" / "1" / "value.txt").write_text("2")
        assert await answer(pod) == 1, "only a call loads it again"
        await load(pod)
        assert await answer(pod) == 2
        running = asyncio.ensure_future(answer(pod, WAIT))
        first = pod.server.models.get("m")
        await eventually(lambda: first.open_lane().in_use.jobs)
        await unload(pod)
        assert await index(pod) == {"1": ("UNAVAILABLE", "it was unloaded")}
        code, why = await pod.refusal(calling())
        assert (code, why) == ("UNAVAILABLE", "model 'm' does not serve: it was unloaded")
        merged = calling()
        merged.parameters["hub_members"].string_param = '[[1,1000000,""]]'
        assert (await pod.refusal(merged))[0] == "RESOURCE_EXHAUSTED", "a gateway runs it elsewhere"
        assert first.lane is not None
        held.unlink()
        assert await running == 2
        await eventually(lambda: first.lane is None)
        assert not await samples(pod, "inferencehub_inference_model_ready")
        await load(pod)
        assert await answer(pod) == 2
        assert (await samples(pod, "inferencehub_inference_slots_free"))["m", "1"] == 1


async def test_a_load_that_fails_leaves_what_serves_and_says_why(models: Path) -> None:
    async with told_pod(models, "m") as pod:
        (models / "m" / "1" / "value.txt").write_text("one")
        code, why = await refusal(load(pod))
        assert code == "INVALID_ARGUMENT"
        assert why.startswith("model 'm' was not loaded: ")
        assert "could not convert string to float" in why
        assert await answer(pod) == 1
        assert (await index(pod))["1"][0] == "READY"


async def test_a_load_may_bring_config_and_files(models: Path) -> None:
    config = {
        "backend": "python",
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
        "parameters": {"held": {"string_value": "none"}},
    }
    text = Parameter(string_param=json.dumps(config))
    files = {
        "file:5/model.py": Parameter(bytes_param=SOURCE.encode()),
        "file:5/value.txt": Parameter(string_param=b64encode(b"5").decode()),
    }
    async with told_pod(models, "m") as pod:
        await load(pod, "m", config=text, **files)
        assert await answer(pod) == 5
        assert list(await index(pod)) == ["5"]
        await load(pod, "fresh", config=text, **files)
        assert await answer(pod, name="fresh") == 5
        await load(pod)
        assert await answer(pod) == 1, "a load without them takes the repository again"
        config["instance_group"] = [{"count": 2, "kind": "KIND_CPU"}]
        await load(pod, "m", config=Parameter(string_param=json.dumps(config)))
        assert await answer(pod) == 1
        assert pod.server.models.get("m").info.slots == 2
        copies = pod.server.control.copies.root  # type: ignore[attr-defined]
        await eventually(lambda: len(glob(f"{copies}/*/*/")) == 2)


@pytest.mark.parametrize(
    ("name", "parameters", "code", "sentence"),
    [
        ("nobody", {}, "NOT_FOUND", "model 'nobody' is not in the repository, expected one of: m, quick"),
        ("../models/m", {}, "NOT_FOUND", "is not in the repository"),
        ("", {}, "NOT_FOUND", "model '' is not in the repository"),
        ("", {"config": Parameter(string_param="{}"), "file:1/x": Parameter(bytes_param=b"")}, "INVALID_ARGUMENT", "'' is no name"),
        ("m", {"config": Parameter(string_param="{")}, "INVALID_ARGUMENT", "no configuration in JSON"),
        ("m", {"config": Parameter(string_param='{"sequence_batching": {}}')}, "INVALID_ARGUMENT", "not supported"),
        ("m", {"file:1/x": Parameter(bytes_param=b"")}, "INVALID_ARGUMENT", "has files and no parameter 'config'"),
        ("m", {"file:../x": Parameter(bytes_param=b"")}, "INVALID_ARGUMENT", "such as 'file:1/model.onnx'"),
        ("m", {"file:1/../../x": Parameter(bytes_param=b"")}, "INVALID_ARGUMENT", "such as 'file:1/model.onnx'"),
        ("m", {"file:1/x": Parameter(string_param="%")}, "INVALID_ARGUMENT", "is no base64"),
        ("m", {"speed": Parameter(int64_param=1)}, "INVALID_ARGUMENT", "parameter 'speed' of a load is unknown"),
    ],
)  # fmt: skip
async def test_what_cannot_be_loaded_is_said(
    models: Path, name: str, parameters: dict[str, Parameter], code: str, sentence: str
) -> None:
    async with told_pod(models) as pod:
        found, why = await refusal(load(pod, name, **parameters))
        assert found == code
        assert sentence.replace("such as", "as") in why
        assert not (models.parent / "x").exists()
        assert pod.server.models.names() == ["m", "quick"]
        assert pod.server.control.copies.root.exists()  # type: ignore[attr-defined]


async def test_an_unload_may_take_the_steps_of_an_ensemble_along(models: Path) -> None:
    step = 'model_name: "quick" input_map { key: "features" value: "X" } output_map { key: "class_id" value: "Y" }'
    write_model(models, "whole", f"""platform: "ensemble"
        input {{ name: "X" data_type: TYPE_FP32 dims: [-1] }}
        output {{ name: "Y" data_type: TYPE_INT32 dims: [1] }}
        ensemble_scheduling {{ step {{ {step} }} }}""")  # fmt: skip
    async with told_pod(models, "*") as pod:
        await unload(pod, "whole")
        assert pod.server.models.serves("quick")
        await load(pod, "whole")
        await unload(pod, "whole", unload_dependents=Parameter(bool_param=True))
        assert [name for name in ("whole", "quick", "m") if pod.server.models.serves(name)] == ["m"]
        assert (await refusal(unload(pod, "nobody")))[0] == "NOT_FOUND"
        code, why = await refusal(unload(pod, "m", now=Parameter(bool_param=True)))
        assert (code, why.startswith("parameter 'now' of an unload")) == ("INVALID_ARGUMENT", True)


async def test_the_ops_port_loads_nothing(models: Path) -> None:
    async with told_pod(models) as pod, aiohttp.ClientSession() as client:
        for what in ("load", "unload"):
            path = f"http://127.0.0.1:{pod.server.ops.port}/v2/repository/models/m/{what}"
            async with client.post(path, json={}) as refused, client.get(path) as unknown:
                assert [refused.status, unknown.status] == [404, 404], "this port asks nobody for a key"
        assert not pod.server.models.serves("m")


async def test_changes_of_a_model_come_one_after_the_other(models: Path) -> None:
    async with told_pod(models) as pod:
        await asyncio.gather(*[load(pod) for _ in range(4)], *[load(pod, "quick") for _ in range(4)])
        assert await answer(pod) == 1
        await asyncio.gather(unload(pod), load(pod), unload(pod))
        assert not pod.server.models.serves("m")


@pytest.mark.parametrize("mode", ["none", "poll"])
async def test_other_ways_take_no_such_calls(models: Path, mode: str) -> None:
    async with calling_pod(models, model_control=mode) as pod:
        code, why = await refusal(load(pod))
        assert code == "UNIMPLEMENTED"
        assert why.endswith(f"HUB_MODEL_CONTROL is '{mode}', expected 'explicit'")
        assert (await refusal(unload(pod)))[0] == "UNIMPLEMENTED"


def test_models_at_the_start_are_for_this_way_alone() -> None:
    with pytest.raises(SettingError, match="HUB_MODEL_CONTROL is 'poll', expected 'explicit'"):
        InferenceSettings(model_control="poll", load_models=("m",))


async def test_changes_that_wait_end_with_the_pod(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    (models / "m" / "1" / "model.py").write_text(f"import time\ntime.sleep(20)\n{SOURCE}")
    async with told_pod(models) as pod:
        changes = [asyncio.create_task(pod.server.control.load("m", {})) for _ in range(3)]
        await eventually(lambda: "1" in pod.server.models.of("m"))
    assert all(change.cancelled() for change in changes)
    assert "Exception in callback" not in caplog.text
