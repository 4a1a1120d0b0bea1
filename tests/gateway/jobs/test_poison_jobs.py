"""A job that takes its pod along costs two pods at most, whoever else is lost meanwhile, and nobody else their answer."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.jobs.test_jobs import ADD, LATER
from tests.hub import Process, eventually, running_gateway, write_model

CONFIG = """backend: "python" instance_group { count: 3 kind: KIND_CPU }
    input { name: "x" data_type: TYPE_FP32 dims: [-1] }
    output { name: "y" data_type: TYPE_FP32 dims: [-1] }"""
SOURCE = """
import os, signal, time

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        poison = inputs["x"].ravel()[0] < 0
        note("r" if poison else "")
        time.sleep(1.0)
        if poison:
            note("k")
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(5)  # it gives no answer
        return {"y": inputs["x"] + 1}

def note(letter):
    with open(os.environ["NOTES"], "a") as file:
        file.write(letter)
"""


def environ(place: Path) -> dict[str, str]:
    """Of pods with the model."""
    write_model(place / "models", "deadly", CONFIG, {"1/model.py": SOURCE})
    return {"HUB_MODELS": str(place / "models"), "HUB_MODEL_ENV": "NOTES", "NOTES": str(place / "notes")}


async def submitted(client: aiohttp.ClientSession, url: str, number: float) -> str:
    body = {"inputs": [{**ADD, "data": [number]}]}
    async with client.post(f"{url}/v2/models/deadly/infer", json=body, headers=LATER) as answer:
        assert answer.status == 202
        return f"{url}{answer.headers['location']}"


async def ended(client: aiohttp.ClientSession, job: str) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while True:
            async with client.get(job) as answer:
                found: dict[str, Any] = await answer.json()
            if found["state"] not in ("queued", "running"):
                return found
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_it_costs_two_pods_also_if_its_gateway_is_killed_between_them(tmp_path: Path) -> None:
    notes, settings = tmp_path / "notes", environ(tmp_path)
    notes.touch()
    async with AsyncExitStack() as stack:
        pods = [await stack.enter_async_context(Process("inference", **settings)) for _ in range(4)]
        client = await stack.enter_async_context(aiohttp.ClientSession())
        front = {
            "GRPC_SERVER_URL": ",".join(pod.address for pod in pods),
            "HUB_JOBS": f"sqlite:{tmp_path / 'jobs.db'}",
        }
        async with Process("gateway", **front) as gateway:
            job = await submitted(client, f"http://{gateway.address}", -1.0)
            await eventually(lambda: notes.read_text() == "rkr")
            gateway.send(signal.SIGKILL)
        async with Process("gateway", **front) as gateway:
            record = await ended(client, f"http://{gateway.address}/v2/jobs/{job.rpartition('/')[2]}")
            assert (record["state"], record["attempts"]) == ("failed", 2)
            await eventually(lambda: notes.read_text() == "rkrk")
            await asyncio.sleep(2.0)  # it would run again now
            assert notes.read_text() == "rkrk"


@pytest.mark.long
async def test_jobs_that_ran_beside_it_run_again_apart_from_it(tmp_path: Path) -> None:
    settings = environ(tmp_path)
    async with AsyncExitStack() as stack:
        pods = [await stack.enter_async_context(Process("inference", **settings)) for _ in range(3)]
        gateway = await stack.enter_async_context(
            running_gateway(
                tuple(pod.address for pod in pods), jobs=f"sqlite:{tmp_path / 'jobs.db'}", hold_s=10.0
            )
        )
        await eventually(lambda: sum(pod.up for pod in gateway.fleet.pods.values()) == 3)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{gateway.port}"
        numbers = [1.0, 2.0, 3.0, 4.0, -1.0, 5.0, 6.0, 7.0, 8.0]
        jobs = {number: await submitted(client, url, number) for number in numbers}
        attempts = []
        for number, job in jobs.items():
            record = await ended(client, job)
            if number < 0:
                assert (record["state"], record["attempts"]) == ("failed", 2)
                continue
            async with client.get(f"{job}/result") as answer:
                found = json.loads(await answer.read())
            assert (answer.status, found["outputs"][0]["data"]) == (200, [number + 1]), record
            attempts.append(record["attempts"])
        assert set(attempts) == {1, 2}, "those beside it ran twice, and the jobs say so"
