"""Calls that become jobs, over HTTP: their answers are those of calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferencehub.gateway.http_api.pages.schemas import SCHEMAS
from inferencehub.gateway.jobs.running.attempt import Running
from tests.gateway.keyed_hub import bearer, entry, key_file
from tests.hub import Hub, eventually, mock_model, running_hub, write_model
from tests.several_answers import counting_model

LATER = {"prefer": "respond-async"}
INFER: dict[str, Any] = {
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]
}
ADDS = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        if inputs["x"].ravel()[0] < 0:
            raise ValueError("x is below zero")
        return {"y": inputs["x"] + 1}
"""
# Header lines that two calls never share.
OWN = ("date", "x-request-id", "server-timing", "content-length", "location", "x-served-by")


@asynccontextmanager
async def hub_with_jobs(directory: Path, **settings: Any) -> AsyncIterator[Hub]:
    """A quick, a counting and an adding model, and a gateway that keeps jobs."""
    models = directory / "models"
    mock_model(models, "quick")
    counting_model(models)
    config = """backend: "python"
        input { name: "x" data_type: TYPE_FP32 dims: [-1] }
        output { name: "y" data_type: TYPE_FP32 dims: [-1] }"""
    write_model(models, "adds", config, {"1/model.py": ADDS})
    more = {"jobs": f"sqlite:{directory / 'jobs.db'}", "drain_timeout_s": 1.0, **settings}
    async with running_hub(models, default_model="quick", **more) as hub:
        yield hub


def running(hub: Hub) -> list[Running]:
    """What its gateway runs for jobs."""
    assert hub.gateway.jobs is not None
    return hub.gateway.jobs.jobs.worker.running.all()


async def ask(hub: Hub, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON and headers of an answer."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with hub.client.request(method, f"{hub.url}{path}", json=body, headers=names) as answer:
        text = await answer.read()
        return answer.status, json.loads(text) if text else None, answer.headers


async def submitted(hub: Hub, path: str, body: Any, durability: str = "local", **headers: str) -> str:
    """The path of a job that was accepted."""
    status, job, found = await ask(hub, "POST", path, body, **{**LATER, **headers})
    assert (status, job["state"], found["location"]) == (202, "queued", f"/v2/jobs/{job['id']}"), job
    assert found["preference-applied"] == "respond-async"
    assert (found["hub-durability"], found["retry-after"]) == (durability, "1")
    return str(found["location"])


async def ended(hub: Hub, job: str, **headers: str) -> dict[str, Any]:
    """How a job stands once it has ended."""
    async with hub.client.get(f"{hub.url}{job}/result?wait=20", headers=headers) as answer:
        assert answer.status != 202
    _, found, _ = await ask(hub, "GET", job, **headers)
    return dict(found)


ADD = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}
BELOW = {"inputs": [{**ADD, "data": [-1]}]}
PATHS: dict[str, Any] = {
    "/predict": {"features": [1.0, 2.0], "model_name": "quick"},
    "/v2/models/quick/infer": INFER,
    "/v2/models/quick/versions/1/infer": INFER,
    "/v2/models/quick/generate": {"features": [1.0, 2.0]},
    "/v2/models/counter/generate_stream": {"count": 3},
    "/v1/models/adds:predict": {"instances": [1.5]},
    "/v2/models/adds/infer": BELOW,
}


SLOW = "/v2/models/counter/generate_stream", {"count": 10_000, "pause_s": 0.1}


@pytest.mark.parametrize(("path", "body"), PATHS.items())
async def test_a_job_has_the_answer_of_a_call(tmp_path: Path, path: str, body: Any) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        async with hub.client.post(f"{hub.url}{path}", json=body) as called:
            right = called.status, await called.read()
        job = await submitted(hub, path, body)
        async with hub.client.get(f"{hub.url}{job}/result?wait=20") as answer:
            assert (answer.status, await answer.read()) == right
            names = {name.lower() for name in called.headers} - {*OWN, "transfer-encoding", "x-should-retry"}
            assert {name: answer.headers[name] for name in names} == {
                name: called.headers[name] for name in names
            }
            if right[0] == 200:
                assert "queue;dur=" in answer.headers.getall("server-timing")[0]
        record = await ended(hub, job)
        assert record.keys() == SCHEMAS["Job"]["properties"].keys()
        assert record["state"] == ("succeeded" if right[0] == 200 else "failed")
        assert (record["status"], record["attempts"]) == (right[0], 1)
        assert (record["error"] is None) == (right[0] == 200)


async def test_binary_tensors_come_back_as_they_are(tmp_path: Path) -> None:
    data = np.arange(1000, dtype=np.float32)
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1000], "parameters": {"binary_data_size": 4000}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    length = "inference-header-content-length"
    async with hub_with_jobs(tmp_path) as hub:
        url = f"{hub.url}/v2/models/adds/infer"
        headers = {**LATER, length: str(len(head))}
        async with hub.client.post(url, data=head + data.tobytes(), headers=headers) as accepted:
            assert accepted.status == 202
            job = accepted.headers["location"]
        async with hub.client.get(f"{hub.url}{job}/result?wait=20") as answer:
            body, size = await answer.read(), int(answer.headers[length])
        assert np.array_equal(np.frombuffer(body[size:], np.float32), data + 1)


async def test_one_who_waits_gets_the_answer_itself(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        status, found, headers = await ask(
            hub, "POST", "/v2/models/quick/infer", INFER, prefer="respond-async, wait=20"
        )
        _, right, _ = await ask(hub, "POST", "/v2/models/quick/infer", INFER)
        assert (status, found) == (200, right)
        assert (await ended(hub, headers["location"]))["state"] == "succeeded"
        status, found, _ = await ask(hub, "POST", *SLOW, prefer="wait=1, respond-async")
        assert (status, found["state"]) == (202, "running")


async def test_what_would_be_refused_at_once_is_refused_at_once(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        for path, body, status in [
            ("/v2/models/none/infer", INFER, 404),
            ("/v2/models/quick/infer", {"inputs": []}, 400),
            ("/predict", {"features": "x"}, 400),
            ("/v2/models/counter/infer", INFER, 400),
        ]:
            right = await ask(hub, "POST", path, body)
            found = await ask(hub, "POST", path, body, **LATER)
            assert (found[0], found[1]) == (status, right[1])
        assert (await ask(hub, "GET", "/v2/jobs"))[1] == {"jobs": [], "cursor": None}


@pytest.mark.parametrize(
    ("header", "value", "said"),
    [
        ("x-job-priority", "10", "X-Job-Priority: expected a whole number from 0 to 9, got '10'"),
        ("x-job-ttl-s", "0", "X-Job-Ttl-S: expected a whole number from 1 to 2592000, got '0'"),
        ("x-job-not-before", "2030-01-31T09:00:00", "expected a time with a zone"),
        ("x-job-not-before", "2999-01-31T09:00:00Z", "expected a time within 30 days"),
        ("idempotency-key", "k" * 256, "Idempotency-Key: expected 1 to 255 printable characters of ASCII"),
    ],
)
async def test_headers_that_are_none_are_refused(tmp_path: Path, header: str, value: str, said: str) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        status, found, _ = await ask(hub, "POST", "/v2/models/quick/infer", INFER, **{**LATER, header: value})
        assert status == 400
        assert said in found["error"]
        # They are nothing to a call that is no job.
        assert (await ask(hub, "POST", "/v2/models/quick/infer", INFER, **{header: value}))[0] == 200


@pytest.mark.parametrize("prefer", ["", "wait=5", "respond-later", "return=minimal", ";;,,="])
async def test_other_preferences_are_left_out(tmp_path: Path, prefer: str) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        status, _, headers = await ask(hub, "POST", "/v2/models/quick/infer", INFER, prefer=prefer)
        assert (status, "location" in headers, "preference-applied" in headers) == (200, False, False)


async def test_a_key_is_one_job(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        first = await submitted(hub, "/v2/models/quick/infer", INFER, idempotency_key="k")
        await ended(hub, first)
        status, found, headers = await ask(
            hub, "POST", "/v2/models/quick/infer", INFER, **LATER, idempotency_key="k"
        )
        assert (status, headers["location"]) == (200, first)
        assert found == (await ask(hub, "GET", f"{first}/result"))[1]
        other = {**INFER, "id": "other"}
        status, found, _ = await ask(
            hub, "POST", "/v2/models/quick/infer", other, **LATER, idempotency_key="k"
        )
        assert (status, found["error"][:35]) == (422, "Idempotency-Key 'k' came with anoth")
        assert len((await ask(hub, "GET", "/v2/jobs"))[1]["jobs"]) == 1


async def test_a_job_that_runs_is_cancelled_and_its_place_is_free(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        first, second = [await submitted(hub, *SLOW) for _ in range(2)]
        (lane,) = hub.gateway.table.routes["counter", ""]
        await eventually(lambda: lane.lane.in_use.jobs == 1)
        assert (await ask(hub, "GET", second))[1]["place"] == 0
        assert (await ask(hub, "POST", f"{first}/cancel"))[1]["state"] == "cancelled"
        await eventually(lambda: lane.lane.in_use.jobs == 1 and len(running(hub)) == 1)
        assert (await ask(hub, "GET", second))[1]["state"] == "running"
        status, found, _ = await ask(hub, "GET", f"{first}/result")
        assert (status, found["error"]) == (410, f"job {first.rpartition('/')[2]} was cancelled")
        assert (await ask(hub, "DELETE", second))[:2] == (
            200,
            {"id": second.rpartition("/")[2], "deleted": True},
        )
        await eventually(lambda: lane.lane.idle)
        assert (await ask(hub, "GET", second))[0] == 404


async def test_a_failed_job_may_be_tried_again(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        job = await submitted(
            hub,
            "/v2/models/adds/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [-1]}]},
        )
        failed = await ended(hub, job)
        assert (failed["state"], failed["attempts"]) == ("failed", 1)
        assert "x is below zero" in failed["error"]
        assert (await ask(hub, "POST", f"{job}/retry"))[1]["state"] == "queued"
        assert (await ended(hub, job))["attempts"] == 2


@pytest.mark.long
async def test_a_job_waits_for_its_time(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        at = datetime.now(UTC) + timedelta(seconds=2)
        job = await submitted(hub, "/v2/models/quick/infer", INFER, x_job_not_before=at.isoformat())
        assert (await ask(hub, "GET", f"{job}/result"))[0] == 202
        record = await ended(hub, job)
        assert record["state"] == "succeeded"
        assert datetime.fromisoformat(record["started"]) >= at - timedelta(milliseconds=1)


async def test_tenants_do_not_see_each_others_jobs(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.write_text(
        json.dumps(
            {
                "keys": [
                    entry("all", tenant="x"),
                    entry("few", tenant="x"),
                    entry("admin", tenant="y"),
                    entry("asks", actions=["describe"]),
                ]
            }
        )
    )
    async with hub_with_jobs(tmp_path, api_keys=str(file)) as hub:
        job = await submitted(hub, "/v2/models/quick/infer", INFER, **bearer("all"))
        assert (await ended(hub, job, **bearer("few")))["state"] == "succeeded"
        for path, method in (
            (job, "GET"),
            (f"{job}/result", "GET"),
            (f"{job}/cancel", "POST"),
            (job, "DELETE"),
        ):
            assert (await ask(hub, method, path, **bearer("admin")))[0] == 404
        assert (await ask(hub, "GET", "/v2/jobs", **bearer("admin")))[1]["jobs"] == []
        assert (await ask(hub, "GET", "/v2/jobs", **bearer("asks")))[0] == 403
        assert (await ask(hub, "GET", "/v2/jobs"))[0] == 401


async def test_without_a_store_a_call_is_a_call(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path, jobs="") as hub:
        status, _, headers = await ask(hub, "POST", "/v2/models/quick/infer", INFER, **LATER)
        assert (status, "preference-applied" in headers) == (200, False)
        for path in ("/v2/jobs", "/v2/jobs/1", "/v2/jobs/1/result"):
            status, found, _ = await ask(hub, "GET", path)
            assert (status, found["error"]) == (501, "there are no jobs: HUB_JOBS says where they are kept")


async def test_jobs_outlive_their_gateway(tmp_path: Path) -> None:
    """What waits, what has ended, and what runs when it stops: that runs again, and is not counted as lost."""
    async with hub_with_jobs(tmp_path) as hub:
        done = await submitted(hub, "/v2/models/quick/infer", INFER)
        right = (await ask(hub, "GET", f"{done}/result?wait=20"))[1]
        slow = [await submitted(hub, *SLOW) for _ in range(2)]
        await eventually(lambda: len(running(hub)) == 1)
    async with hub_with_jobs(tmp_path) as hub:
        assert (await ask(hub, "GET", f"{done}/result"))[1] == right
        await eventually(lambda: len(running(hub)) == 1)
        found = {(await ask(hub, "GET", job))[1]["state"] for job in slow}
        assert found == {"running", "queued"}
        _, first, _ = await ask(hub, "GET", slow[0])
        assert (first["state"], first["attempts"]) == ("running", 2)


async def test_many_jobs_each_once_and_right(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:

        async def one(number: int) -> bool:
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [number]}]}
            job = await submitted(hub, "/v2/models/adds/infer", body)
            status, found, _ = await ask(hub, "GET", f"{job}/result?wait=60")
            return (status, found["outputs"][0]["data"]) == (200, [number + 1])

        assert all(await asyncio.gather(*[one(number) for number in range(200)]))
        _, page, _ = await ask(hub, "GET", "/v2/jobs?limit=1000")
        assert {(job["state"], job["attempts"]) for job in page["jobs"]} == {("succeeded", 1)}
        assert len(page["jobs"]) == 200
        async with hub.client.get(f"http://127.0.0.1:{hub.gateway.ops.port}/metrics") as answer:
            text = await answer.text()
        assert 'inferencehub_gateway_jobs_ended_total{model="adds",state="succeeded"} 200.0' in text


async def test_no_place_is_429(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path, jobs_queue_length=1) as hub:
        await submitted(hub, *SLOW)
        await eventually(lambda: len(running(hub)) == 1)
        await submitted(hub, *SLOW)
        status, found, headers = await ask(hub, "POST", *SLOW, **LATER)
        assert (status, found["error"], headers["retry-after"]) == (
            429,
            "no more than 1 jobs may wait, and so many do",
            "5",
        )
