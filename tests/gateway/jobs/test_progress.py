"""Models tell how far they are, and their jobs have it."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.jobs.test_jobs import ask, ended, hub_with_jobs, submitted
from tests.gateway.jobs.watched import watched
from tests.hub import Hub, Process, eventually, running_gateway, write_model
from tests.several_answers import DECOUPLED

TELLS = """
import os, time
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.file = parameters["steps"]

    def predict(self, inputs, context):
        YIELD
        for step, value in enumerate(np.asarray(inputs["x"])[0]):
            context.progress(value)
            while os.path.exists(self.file) and os.path.getsize(self.file) <= step:
                time.sleep(0.005)
        return {"y": inputs["x"]}
"""
YIELDS = """for step, value in enumerate(inputs["x"]):
            context.progress(value / 10)
            yield {"y": inputs["x"]}
            while os.path.getsize(self.file) <= step:
                time.sleep(0.005)
        return"""


def telling_model(directory: Path, yields: str = "", more: str = "max_batch_size: 8") -> Path:
    """A model that tells the numbers of its first row as its progress, each when the file that is returned has one more byte."""
    steps = directory / "steps"
    steps.touch()
    config = f"""backend: "python" {more}
        input {{ name: "x" data_type: TYPE_FP32 dims: [-1] }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [-1] }}
        parameters {{ key: "steps" value {{ string_value: "{steps}" }} }}"""
    write_model(directory / "models", "tells", config, {"1/model.py": TELLS.replace("YIELD", yields)})
    return steps


def row(*values: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": list(values)}]}


PATH = "/v2/models/tells/infer"


async def test_a_job_has_the_progress_that_its_model_tells(tmp_path: Path) -> None:
    steps = telling_model(tmp_path)
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, PATH, row(0.25, 0.5, 0.75))
        assert (await ask(hub, "GET", job))[1]["progress"] in (None, 0.25)
        async with watched(hub, job) as events:
            for number, value in enumerate((0.25, 0.5, 0.75), 1):
                event = await events.until("progress")
                assert (event.data, event.id) == ({"progress": value}, "1-0")
                record = (await ask(hub, "GET", job))[1]
                assert (record["progress"], record["state"]) == (value, "running")
                steps.write_text("." * number)
            rest = await events.rest()
        assert [one.name for one in rest] == ["state"]
        assert (rest[0].data["state"], rest[0].data["progress"]) == ("succeeded", 0.75)
        _, found, _ = await ask(hub, "GET", f"{job}/result")
        _, right, _ = await ask(hub, "POST", PATH, row(0.25, 0.5, 0.75))
        assert found == right


@pytest.mark.long
async def test_jobs_that_run_together_have_the_same(tmp_path: Path) -> None:
    """That of their run: the model tells what is in its first row."""
    steps = telling_model(tmp_path)
    async with hub_with_jobs(tmp_path) as hub:
        at = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()  # so they leave together
        jobs = [
            await submitted(hub, PATH, row(0.1, 0.1 * number), x_job_not_before=at) for number in range(2, 6)
        ]
        steps.write_text(".")
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(watched(hub, job)) for job in jobs]
            for stream in streams:
                while (await stream.until("progress")).data["progress"] != pytest.approx(0.2):
                    pass
        steps.unlink()
        for job, number in zip(jobs, range(2, 6), strict=True):
            await ended(hub, job)
            _, answer, _ = await ask(hub, "GET", f"{job}/result")
            assert answer["outputs"][0]["data"] == pytest.approx([0.1, 0.1 * number])


async def test_a_stream_has_both(tmp_path: Path) -> None:
    steps = telling_model(tmp_path, YIELDS, DECOUPLED)
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, "/v2/models/tells/generate_stream", {"x": [1, 2, 3, 4]})
        async with watched(hub, job) as events:
            answers, told = 0, 0.0
            for number in range(1, 5):
                while answers < number or told != pytest.approx(number / 10):
                    event = await events.next()
                    assert event is not None
                    answers += event.name == "answer"
                    told = event.data["progress"] if event.name == "progress" else told
                steps.write_text("." * number)
            last = (await events.rest())[-1]
        assert answers == 4
        assert last.data["progress"] == pytest.approx(0.4)


async def test_what_is_no_number_fails(tmp_path: Path) -> None:
    telling_model(tmp_path).unlink()
    async with hub_with_jobs(tmp_path) as hub:
        bad = TELLS.replace("YIELD", "").replace("progress(value)", 'progress("x")')
        (tmp_path / "models" / "tells" / "1" / "model.py").write_text(bad)
        call = await ask(hub, "POST", PATH, row(0.5))
        assert call[0] == 200, "the model was loaded before"
    async with hub_with_jobs(tmp_path) as hub:
        assert (await ask(hub, "POST", PATH, row(0.5)))[0] == 500
        record = await ended(hub, await submitted(hub, PATH, row(0.5)))
        assert (record["state"], record["status"], record["progress"]) == ("failed", 500, None)


@pytest.mark.long
async def test_progress_is_no_answer(tmp_path: Path) -> None:
    """A job whose pod is lost behind it runs again, as one that has told nothing."""
    steps = telling_model(tmp_path)
    async with AsyncExitStack() as stack:
        environ = {"HUB_MODELS": str(tmp_path / "models")}
        pods = [await stack.enter_async_context(Process("inference", **environ)) for _ in range(2)]
        gateway = await stack.enter_async_context(
            running_gateway(tuple(pod.address for pod in pods), jobs=f"sqlite:{tmp_path / 'jobs.db'}")
        )
        await eventually(lambda: sum(pod.up for pod in gateway.fleet.pods.values()) == 2)
        hub = Hub(gateway, [], await stack.enter_async_context(aiohttp.ClientSession()))
        job = await submitted(hub, PATH, row(0.5))
        async with watched(hub, job) as events:
            assert (await events.until("progress")).data == {"progress": 0.5}
            (lane,) = gateway.table.routes["tells", ""]
            (busy,) = [one for one in lane.replicas if one.in_flight]
            (ran,) = [pod for pod in pods if pod.address == busy.pod.address]
            ran.send(signal.SIGKILL)
            await asyncio.sleep(0)
            steps.unlink()
            rest = await events.rest()
        assert (rest[-1].data["state"], rest[-1].data["attempts"]) == ("succeeded", 2)
        async with hub.client.get(f"{hub.url}{job}/result") as answer:
            assert json.loads(await answer.read())["outputs"][0]["data"] == [0.5]
