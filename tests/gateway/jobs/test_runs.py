"""How attempts of jobs end: cut streams, lost pods, large requests, cancelled ones that come again."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.jobs.test_jobs import (
    ADD,
    BELOW,
    INFER,
    LATER,
    SLOW,
    ask,
    ended,
    hub_with_jobs,
    running,
    submitted,
)
from tests.gateway.keyed_hub import bearer, entry, key_file
from tests.gateway.raw import Raw, request
from tests.hub import Process, eventually, running_gateway, write_model

KILLS = """
import os, signal

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        with open(os.environ["KILLED"], "a") as file:
            file.write("k")
        os.kill(os.getppid(), signal.SIGKILL)
"""
MODEL = """backend: "python" parameters { key: "run_at_most_once" value { string_value: "ONCE" } }
    input { name: "x" data_type: TYPE_FP32 dims: [-1] }
    output { name: "y" data_type: TYPE_FP32 dims: [-1] }"""


async def test_a_stream_that_ends_with_an_error_is_no_success(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, "/v2/models/counter/generate_stream", {"count": -2})
        record = await ended(hub, job)
        assert (record["state"], record["status"]) == ("failed", 200)
        assert record["error"] == "the stream of answers ended with an error, which is its last event"
        async with hub.client.get(f"{hub.url}{job}/result") as answer:
            assert b"it is below zero" in (await answer.read()).split(b"data: ")[-1]


@pytest.mark.long
@pytest.mark.parametrize(("once", "killed"), [("false", 2), ("true", 1)])
async def test_a_job_that_kills_its_pod_costs_so_many_and_no_more(
    tmp_path: Path, once: str, killed: int
) -> None:
    log = tmp_path / "killed"
    write_model(tmp_path / "models", "kills", MODEL.replace("ONCE", once), {"1/model.py": KILLS})
    environ = {"HUB_MODELS": str(tmp_path / "models"), "HUB_MODEL_ENV": "KILLED", "KILLED": str(log)}
    async with AsyncExitStack() as stack:
        pods = [await stack.enter_async_context(Process("inference", **environ)) for _ in range(4)]
        gateway = await stack.enter_async_context(
            running_gateway(
                tuple(pod.address for pod in pods), jobs=f"sqlite:{tmp_path / 'jobs.db'}", hold_s=2.0
            )
        )
        await eventually(lambda: sum(pod.up for pod in gateway.fleet.pods.values()) == 4)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{gateway.port}"
        async with client.post(
            f"{url}/v2/models/kills/infer", json={"inputs": [ADD]}, headers=LATER
        ) as answer:
            job = answer.headers["location"]
        async with client.get(f"{url}{job}/result?wait=30") as answer:
            assert answer.status in (410, 500, 503)
        async with client.get(f"{url}{job}") as answer:
            record = await answer.json()
        assert record["state"] == "failed"
        await asyncio.sleep(2)  # it would run again now
        assert log.read_text() == "k" * killed
        async with client.get(f"http://127.0.0.1:{gateway.ops.port}/metrics") as answer:
            again = 'inferencehub_gateway_jobs_put_back_total{model="kills",reason="lost"} 1.0'
            assert (again in await answer.text()) is (once == "false")


async def test_one_that_was_cancelled_and_comes_again_keeps_its_result(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(hub, "/v2/models/counter/generate_stream", {"count": 5, "pause_s": 0.2})
        await eventually(lambda: len(running(hub)) == 1)
        (first,) = running(hub)
        assert (await ask(hub, "POST", f"{job}/cancel"))[1]["state"] == "cancelled"
        assert (await ask(hub, "POST", f"{job}/retry"))[1]["state"] == "queued"
        await eventually(lambda: [one.claim.attempt for one in running(hub)] == [2])
        assert hub.gateway.jobs is not None
        hub.gateway.jobs.jobs.worker.running.remove(first)  # what the end of the first one would do
        record = await ended(hub, job)
        assert (record["state"], record["attempts"]) == ("succeeded", 2)


@pytest.mark.long
async def test_versions_have_places_of_their_own(tmp_path: Path) -> None:
    """Else jobs that name a version would all be taken at once."""
    async with hub_with_jobs(tmp_path) as hub:
        path = "/v2/models/counter/versions/1/generate_stream"
        jobs = [await submitted(hub, path, {"count": 3, "pause_s": 0.1}) for _ in range(6)]
        await eventually(lambda: len(running(hub)) == 1)
        for _ in range(20):
            assert len(running(hub)) <= 1
            await asyncio.sleep(0.05)
        assert {(await ended(hub, job))["state"] for job in jobs} == {"succeeded"}


@pytest.mark.long
async def test_large_requests_are_taken_as_places_are_free_and_leave_nothing(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        numbers = [float(number % 7) for number in range(400_000)]
        body = {"inputs": [{**ADD, "shape": [400_000], "data": numbers}]}  # a thread reads it
        jobs = [await submitted(hub, "/v2/models/adds/infer", body) for _ in range(4)]
        seen = 0
        while not all([(await ask(hub, "GET", job))[1]["state"] == "succeeded" for job in jobs]):
            seen = max(seen, len(running(hub)))
        assert seen <= 2
        for job in jobs:
            _, found, _ = await ask(hub, "GET", f"{job}/result")
            assert found["outputs"][0]["data"] == [number + 1 for number in numbers]
        assert hub.gateway.bytes_held.held == 0


async def test_what_fails_or_is_left_gives_its_bytes_back(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        await ended(hub, await submitted(hub, "/v2/models/adds/infer", BELOW))
        slow = await submitted(hub, *SLOW)
        await eventually(lambda: len(running(hub)) == 1)
        await ask(hub, "DELETE", slow)
        assert (await ask(hub, "POST", "/v2/models/none/infer", INFER, **LATER))[0] == 404
        await eventually(lambda: hub.gateway.bytes_held.held == 0)


async def test_a_result_that_is_too_large_fails_its_job(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path, max_body_bytes=2000) as hub:
        body = {"count": 100, "width": 100}
        job = await submitted(hub, "/v2/models/counter/generate_stream", body)
        record = await ended(hub, job)
        said = "the answer is larger than what a job may keep"
        assert (record["state"], record["status"], record["error"]) == ("failed", 500, said)


async def test_two_lines_of_preferences_are_one_list(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub, Raw(hub.gateway.port) as raw:
        headers = b"prefer: wait=20\r\nprefer: respond-async, wait=0\r\n"
        body = json.dumps(INFER).encode()
        head = b"POST /v2/models/quick/infer HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n" % (
            headers,
            len(body),
        )
        await raw.send(head + body)
        answer = await raw.read()
        assert (answer.status, "location" in answer.headers) == (200, True)
        await raw.send(request("GET", "/v2/jobs"))
        assert len(json.loads((await raw.read()).body)["jobs"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v2/jobs", 405),
        ("GET", "/v2/jobsfoo", 404),
        ("POST", "/v2/jobs/1", 405),
        ("GET", "/v2/jobs/1/cancel", 405),
    ],
)
async def test_other_paths_and_methods_are_refused_as_elsewhere(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        assert (await ask(hub, method, path))[0] == status


async def test_a_key_sees_only_jobs_of_its_models(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    keys = [entry("all", tenant="x"), entry("few", tenant="x", models=["adds"])]
    file.write_text(json.dumps({"keys": keys}))
    async with hub_with_jobs(tmp_path, api_keys=str(file)) as hub:
        job = await submitted(hub, "/v2/models/quick/infer", INFER, **bearer("all"))
        await ended(hub, job, **bearer("all"))
        for method, path in (
            ("GET", job),
            ("GET", f"{job}/result"),
            ("POST", f"{job}/retry"),
            ("DELETE", job),
        ):
            assert (await ask(hub, method, path, **bearer("few")))[0] == 404
        assert (await ask(hub, "GET", "/v2/jobs", **bearer("few")))[1]["jobs"] == []


async def test_a_limit_counts_a_job_once(tmp_path: Path) -> None:
    """Not again with its key, and not one for which there was no place."""
    file = key_file(tmp_path)
    file.write_text(json.dumps({"keys": [entry("all", rows=0.001, rows_burst=2)]}))
    async with hub_with_jobs(tmp_path, api_keys=str(file)) as hub:
        headers = {**LATER, **bearer("all"), "idempotency-key": "k"}
        statuses = [(await ask(hub, "POST", "/v2/models/quick/infer", INFER, **headers))[0] for _ in range(6)]
        assert set(statuses) <= {200, 202}
        call: dict[str, Any] = {"features": [1.0], "model_name": "quick"}
        last = [(await ask(hub, "POST", "/predict", call, **bearer("all")))[0] for _ in range(2)]
        assert last == [200, 429]
