"""HUB_MODEL_CONTROL=poll: what changes in the repository takes effect, and what serves is not disturbed by it."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from glob import glob
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.inference.models.model import Model
from tests.hub import eventually, mock_model
from tests.inference.models.control.valued import (
    CRASH,
    SOURCE,
    WAIT,
    answer,
    becomes,
    calling,
    index,
    samples,
    until,
    valued,
)
from tests.inference.pod_processes import Pod, calling_pod, features

READY = {"1": ("READY", "")}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with version 1 of the model, which answers 1."""
    valued(tmp_path / "models", {"1": "1"})
    return tmp_path / "models"


@asynccontextmanager
async def polling_pod(models: Path, **settings: Any) -> AsyncIterator[Pod]:
    """A pod that looks at its repository all the time."""
    async with calling_pod(models, model_control="poll", repository_poll_s=0.05, **settings) as pod:
        yield pod


def add(models: Path, version: str, value: str) -> None:
    """A further version, which comes whole."""
    hidden = models / "m" / f".{version}"
    hidden.mkdir()
    (hidden / "model.py").write_text(SOURCE)
    (hidden / "value.txt").write_text(value)
    hidden.rename(models / "m" / version)


def move(directory: Path, name: str) -> Path:
    """Give a directory another name beside it."""
    return directory.rename(directory.parent / name)


def versions(pod: Pod) -> list[str]:
    """The versions that calls find."""
    return list(pod.server.models.of("m"))


async def replaced_as_it_runs(pod: Pod, models: Path) -> tuple[asyncio.Future[float], Model]:
    """A call that runs, and its version, once version 2 has taken its place."""
    running = asyncio.ensure_future(answer(pod, WAIT))
    first = pod.server.models.get("m")
    await eventually(lambda: first.open_lane().in_use.jobs)
    add(models, "2", "2")
    await eventually(lambda: versions(pod) == ["2"])
    return running, first


async def test_a_new_version_takes_over_and_the_old_one_finishes_its_calls(models: Path) -> None:
    held = models.parent / "held"
    held.touch()
    async with polling_pod(models) as pod:
        running, first = await replaced_as_it_runs(pod, models)
        assert await answer(pod) == 2
        assert (await pod.refusal(calling(version="1")))[0] == "NOT_FOUND"
        merged = calling(version="1")
        merged.parameters["hub_members"].string_param = '[[1,1000000,""]]'
        assert (await pod.refusal(merged))[0] == "RESOURCE_EXHAUSTED", "a gateway runs it elsewhere"
        assert not running.done()
        assert first.lane is not None
        held.unlink()
        assert await running == 1
        copies = pod.server.control.copies.root  # type: ignore[attr-defined]
        await eventually(lambda: len(glob(f"{copies}/*/m")) == 1)
        for _ in range(1000):
            if (shown := await samples(pod, "inferencehub_inference_slots")) == {("m", "2"): 1}:
                break
            await asyncio.sleep(0.01)
        assert shown == {("m", "2"): 1}, "nothing is left of version 1"
    assert not copies.exists()


async def test_a_pod_that_stops_does_not_wait_for_the_calls_of_a_version_that_goes(models: Path) -> None:
    (models.parent / "held").touch()
    async with asyncio.timeout(25):  # the call would have 30 s
        async with polling_pod(models) as pod:
            running, _ = await replaced_as_it_runs(pod, models)
    await asyncio.gather(running, return_exceptions=True)


async def test_a_changed_file_loads_the_version_again(models: Path) -> None:
    async with polling_pod(models) as pod:
        (models / "m" / "1" / "value.txt").write_text("1.5")
        await becomes(pod, 1.5)
        assert await index(pod) == READY


async def test_the_links_of_a_config_map_are_followed(models: Path) -> None:
    """A volume of Kubernetes: files are links into a directory that is itself a link, which is swapped."""
    version = models / "m" / "1"
    for name, value in (("..one", "1"), ("..two", "2")):
        (version / name).mkdir()
        (version / name / "value.txt").write_text(value)
    (version / "value.txt").unlink()
    (version / "..data").symlink_to("..one")
    (version / "value.txt").symlink_to("..data/value.txt")
    async with polling_pod(models) as pod:
        assert await answer(pod) == 1
        (version / "..new").symlink_to("..two")
        (version / "..new").rename(version / "..data")
        await becomes(pod, 2)


async def test_a_version_that_does_not_load_leaves_the_one_that_serves(models: Path) -> None:
    async with polling_pod(models) as pod:
        add(models, "2", "two")

        async def shown() -> bool:
            return (await index(pod)).get("2", ("", ""))[0] == "UNAVAILABLE"

        await until(shown)
        assert "could not convert string to float" in (await index(pod))["2"][1]
        assert (await index(pod))["1"] == ("READY", "")
        assert await answer(pod) == 1
        failed = await samples(pod, "inferencehub_inference_model_loads_total")
        assert failed["m", "ok"] == 1
        assert failed["m", "failed"] >= 1, "it is tried again"
        (models / "m" / "2" / "value.txt").write_text("2")
        await becomes(pod, 2)
        await eventually(lambda: versions(pod) == ["2"])


async def test_a_broken_edit_reaches_nobody_not_even_an_instance_that_crashed(models: Path) -> None:
    async with polling_pod(models) as pod:
        (models / "m" / "1" / "model.py").write_text("class Model:\n    def pre")

        async def told() -> bool:
            return "serves as it was" in (await index(pod))["1"][1]

        await until(told)
        state, reason = (await index(pod))["1"]
        assert state == "READY"
        assert "model.py cannot be loaded" in reason
        assert (await pod.refusal(calling(CRASH)))[0] == "INTERNAL"
        await eventually(lambda: pod.server.models.serves("m"))
        assert await answer(pod) == 1
        valued_source = SOURCE.replace("[self.value]", "[self.value + 1]")
        (models / "m" / "1" / "model.py").write_text(valued_source)
        await becomes(pod, 2)
        assert await index(pod) == READY


async def test_a_config_that_cannot_be_read_changes_nothing(models: Path) -> None:
    config = models / "m" / "config.pbtxt"
    async with polling_pod(models) as pod:
        whole = config.read_text()
        config.write_text("backend: ")

        async def told() -> bool:
            return "" in await index(pod)

        await until(told)
        assert "config.pbtxt cannot be read" in (await index(pod))[""][1]
        assert await answer(pod) == 1
        config.write_text(whole)
        await eventually(lambda: versions(pod) == ["1"])
        assert await answer(pod) == 1


NEEDS = """
from pathlib import Path

if not Path({needed!r}).exists():
    raise RuntimeError("the service that it asks is not there")
"""


@pytest.mark.parametrize("serves", [True, False])
async def test_a_load_that_failed_for_what_is_elsewhere_is_tried_again(
    models: Path, caplog: pytest.LogCaptureFixture, serves: bool
) -> None:
    needed = models.parent / "needed"
    source = models / "m" / "1" / "model.py"
    if not serves:
        source.write_text(NEEDS.format(needed=str(needed)) + SOURCE)
    async with polling_pod(models) as pod:
        if serves:
            changed = NEEDS.format(needed=str(needed)) + SOURCE.replace("[self.value]", "[self.value + 1]")
            source.write_text(changed)
        await eventually(lambda: tries(pod) >= 3)
        lines = [line for line in caplog.records if line.message == "model unavailable"]
        assert [line.levelname for line in lines if line.levelno > logging.DEBUG] == ["ERROR"], (
            "it is said once"
        )
        assert "the service that it asks is not there" in lines[0].__dict__["reason"]
        if serves:
            assert await answer(pod) == 1
        needed.touch()

        async def loaded() -> bool:
            return await index(pod) == READY

        await until(loaded)
        assert await answer(pod) == (2 if serves else 1)
        assert not pod.server.control._retries  # type: ignore[attr-defined]


SLOW = """
import time
from pathlib import Path

Path({begun!r}).touch()
while Path({loading!r}).exists():
    time.sleep(0.01)
"""


async def test_changed_files_take_the_place_of_the_next_try(models: Path) -> None:
    begun, loading = models.parent / "begun", models.parent / "loading"
    loading.touch()
    (models / "m" / "1" / "value.txt").write_text("one")
    async with polling_pod(models) as pod:
        retries = pod.server.control._retries  # type: ignore[attr-defined]
        await eventually(lambda: tries(pod) >= 1 and "m" in retries)
        (models / "m" / "1" / "model.py").write_text(
            SLOW.format(begun=str(begun), loading=str(loading)) + SOURCE
        )
        await eventually(begun.exists)
        assert not retries, "it would be due all the time, and each second all files would be looked at"
        (models / "m" / "1" / "value.txt").write_text("1")
        loading.unlink()

        async def loaded() -> bool:
            return await index(pod) == READY

        await until(loaded)


def tries(pod: Pod) -> float:
    """How many loads of m have failed."""
    failed: float = pod.server.models.metrics.loads.labels("m", "failed")._value.get()
    return failed


async def test_models_come_and_go(models: Path) -> None:
    async with polling_pod(models) as pod:
        mock_model(models, "new")
        await eventually(lambda: pod.server.models.serves("new"))
        assert (await pod.infer(features("new", 1))).model_name == "new"
        assert await pod.health("new")
        shutil.rmtree(models / "new")
        await eventually(lambda: pod.server.models.names() == ["m"])
        assert (await pod.refusal(features("new", 1)))[0] == "NOT_FOUND"
        with pytest.raises(grpc.aio.AioRpcError, match="service 'new' is unknown"):
            await pod.health("new")
        away = move(models, "away")  # a volume that is away for a moment
        await asyncio.sleep(0.3)
        assert await answer(pod) == 1
        move(away, models.name)
        add(models, "2", "2")
        await becomes(pod, 2)


async def test_versions_side_by_side_are_loaded_once(tmp_path: Path) -> None:
    models = tmp_path / "models"
    valued(models, {"1": "1", "2": "2"}, more="version_policy { latest { num_versions: 2 } }")
    async with polling_pod(models) as pod:
        second = pod.server.models.get("m", "2")
        assert [await answer(pod, version=one) for one in ("1", "2", "")] == [1, 2, 2]
        add(models, "3", "3")
        await becomes(pod, 3)
        await eventually(lambda: versions(pod) == ["2", "3"])
        assert pod.server.models.get("m", "2") is second, "it was not loaded again"
        config = models / "m" / "config.pbtxt"
        config.write_text(
            config.read_text().replace("latest { num_versions: 2 }", "specific { versions: 1 }")
        )
        await becomes(pod, 1)
        await eventually(lambda: versions(pod) == ["1"])
