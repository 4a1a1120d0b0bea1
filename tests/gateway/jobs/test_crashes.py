"""A gateway that is killed: its jobs are there at the next start, and each has one right answer."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.jobs.test_jobs import ADD, ADDS, LATER
from tests.hub import Process, eventually, write_model

MODEL = """backend: "python"
    input { name: "x" data_type: TYPE_FP32 dims: [-1] }
    output { name: "y" data_type: TYPE_FP32 dims: [-1] }"""


@pytest.mark.long
async def test_jobs_of_a_gateway_that_is_killed(tmp_path: Path) -> None:
    write_model(
        tmp_path / "models",
        "adds",
        MODEL,
        {
            "1/model.py": f"import time\n{ADDS}".replace(
                "        if inputs", "        time.sleep(0.05)\n        if inputs"
            )
        },
    )
    accepted: dict[int, str] = {}
    stop = asyncio.Event()
    async with (
        Process("inference", HUB_MODELS=str(tmp_path / "models")) as pod,
        aiohttp.ClientSession() as client,
    ):
        settings = {"GRPC_SERVER_URL": pod.address, "HUB_JOBS": f"sqlite:{tmp_path / 'jobs.db'}"}

        async def submit(url: str) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                body = {"inputs": [{**ADD, "data": [number]}]}
                headers = {**LATER, "idempotency-key": f"{url} {number}"}
                try:
                    async with client.post(
                        f"{url}/v2/models/adds/infer", json=body, headers=headers
                    ) as answer:
                        if answer.status == 202:
                            accepted[number] = answer.headers["location"]
                except aiohttp.ClientError:
                    return
                await asyncio.sleep(0.01)

        async with Process("gateway", **settings) as gateway:
            url = f"http://{gateway.address}"
            sending = asyncio.create_task(submit(url))
            await eventually(lambda: len(accepted) > 100)
            gateway.send(signal.SIGKILL)
            await sending
        stop.set()
        async with Process("gateway", **settings) as gateway:
            url = f"http://{gateway.address}"
            attempts = []
            for number, path in accepted.items():
                async with client.get(f"{url}{path}/result?wait=60") as answer:
                    found: Any = json.loads(await answer.read())
                assert (answer.status, found["outputs"][0]["data"]) == (200, [number + 1])
                async with client.get(f"{url}{path}") as answer:
                    attempts.append((await answer.json())["attempts"])
        assert set(attempts) <= {1, 2}, "at most one ran when the gateway was killed"
