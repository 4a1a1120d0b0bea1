"""`inference.Jobs`: how jobs stand, their results, and what may be done with them."""

from __future__ import annotations

import json
from pathlib import Path
from time import time
from typing import Any

import pytest

from inferencehub.gateway.jobs.store import ONCE
from inferencehub.pb import jobs_pb2 as pb
from tests.gateway.grpc_api.jobs.job_calls import adds, failure, job_calls
from tests.gateway.jobs.test_jobs import ADD, BELOW, INFER, ask, running, submitted
from tests.gateway.jobs.webhooks.receiver import receiving
from tests.gateway.jobs.webhooks.test_webhooks import settled, signing
from tests.gateway.keyed_hub import bearer, entry, key_file
from tests.hub import eventually, mock_model
from tests.inference.pod_processes import features


async def test_it_says_how_jobs_stand_as_http_does(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (hub, caller):
        first = await caller.job(features("slow", 1.0), x_job_priority="7")
        await eventually(lambda: len(running(hub)) == 1)
        job = await caller.ask("GetJob", id=first)
        assert (job.id, job.state, job.model, job.priority) == (first, "running", "slow", 7)
        assert 0 < job.created_ms <= job.started_ms <= time() * 1000
        assert (job.ended_ms, job.expires_ms, job.HasField("place"), job.error) == (0, 0, False, "")
        second = await caller.ask("GetJob", id=await caller.job(features("slow", 1.0)))
        assert (second.state, second.HasField("place"), second.place) == ("queued", True, 0)
        assert (await ask(hub, "GET", f"/v2/jobs/{second.id}"))[1]["state"] == "queued"
        early = await caller.ask("GetJobResult", id=second.id)
        assert (early.job.state, early.WhichOneof("answer"), early.code) == ("queued", None, 0)


async def test_jobs_are_cancelled_retried_and_deleted(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (hub, caller):
        id = await caller.job(features("slow", 1.0))
        await eventually(lambda: len(running(hub)) == 1)
        (lane,) = hub.gateway.table.routes["slow", ""]
        await eventually(lambda: lane.lane.in_use.jobs == 1)
        assert (await caller.ask("CancelJob", id=id)).state == "cancelled"
        await eventually(lambda: not running(hub) and lane.lane.idle)
        assert await failure(caller.ask("GetJobResult", id=id)) == ("NOT_FOUND", f"job {id} was cancelled")
        assert (await caller.ask("RetryJob", id=id)).state == "queued"
        await eventually(lambda: [one.claim.attempt for one in running(hub)] == [2])
        code, said = await failure(caller.ask("RetryJob", id=id))
        assert (code, said[: len(id) + 4]) == ("FAILED_PRECONDITION", f"job {id}")
        await caller.ask("DeleteJob", id=id)
        await eventually(lambda: not running(hub) and lane.lane.idle)
        for method in ("GetJob", "GetJobResult", "CancelJob", "RetryJob", "DeleteJob"):
            assert await failure(caller.ask(method, id=id)) == ("NOT_FOUND", f"there is no job '{id}'")
        long = "a" * 100_000
        assert await failure(caller.ask("GetJob", id=long)) == ("NOT_FOUND", f"there is no job '{long[:80]}'")


async def test_lists_come_in_pages(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (_, caller):
        ids = [await caller.job(adds(1.0)) for _ in range(3)]
        for id in ids:
            await caller.result(id)
        other = await caller.job(features("slow", 1.0))
        first = await caller.ask("ListJobs", limit=2)
        assert [job.id for job in first.jobs] == [other, ids[2]]
        assert first.cursor == ids[2]
        rest = await caller.ask("ListJobs", limit=3, cursor=first.cursor)
        assert ([job.id for job in rest.jobs], rest.cursor) == ([ids[1], ids[0]], "")
        ended = await caller.ask("ListJobs", state="succeeded", model="adds")
        assert {job.id for job in ended.jobs} == set(ids)
        assert not (await caller.ask("ListJobs", model="m" * 1000)).jobs


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    (
        "ListJobs",
        {"state": "done"},
        "state: expected one of queued, running, succeeded, failed, cancelled",
    ),
    ("ListJobs", {"limit": 1001}, "limit: expected a whole number from 1 to 1000, got 1001"),
    ("ListJobs", {"limit": -1}, "limit: expected a whole number from 1 to 1000, got -1"),
    ("ListJobs", {"cursor": "c" * 65}, "cursor: expected that of an answer, got 'ccc"),
    ("GetJobResult", {"wait_s": 61}, "wait_s: expected a whole number from 0 to 60, got 61"),
    ("GetJobResult", {"wait_s": -1}, "wait_s: expected a whole number from 0 to 60, got -1"),
)


async def test_questions_that_are_none_are_refused(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (_, caller):
        for method, fields, said in WRONG:
            code, found = await failure(caller.ask(method, **fields))
            assert (code, found[: len(said)]) == ("INVALID_ARGUMENT", said)


async def test_a_job_of_http_has_its_body_and_its_headers(tmp_path: Path) -> None:
    head = json.dumps({"inputs": [ADD], "parameters": {"binary_data_output": True}}).encode()
    async with job_calls(tmp_path) as (hub, caller):
        path = await submitted(hub, "/v2/models/quick/infer", INFER)
        found = await caller.result(path.rpartition("/")[2])
        _, right, _ = await ask(hub, "GET", f"{path}/result")
        assert (json.loads(found.body), found.headers["content-type"]) == (right, "application/json")
        async with hub.client.post(
            f"{hub.url}/v2/models/adds/infer", data=head, headers={"prefer": "respond-async"}
        ) as accepted:
            id = (await accepted.json())["id"]
        found = await caller.result(id)
        size = int(found.headers["inference-header-content-length"])
        assert json.loads(found.body[:size])["outputs"][0]["name"] == "y"
        assert len(found.body) == size + 4


async def test_tenants_do_not_see_each_others_jobs(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    keys = [
        entry("all", tenant="x"),
        entry("few", tenant="x", models=["quick"]),
        entry("admin", tenant="y"),
        entry("asks", actions=["describe"]),
    ]
    file.write_text(json.dumps({"keys": keys}))
    async with job_calls(tmp_path, api_keys=str(file)) as (hub, nobody):
        caller = nobody.by(**bearer("all"))
        shared, own = await caller.job(features("quick", 1.0)), await caller.job(adds(1.0))
        for id in (shared, own):
            await caller.result(id)
        await nobody.by(**bearer("few")).ask("GetJob", id=shared)
        for name, id in (("few", own), ("admin", own), ("admin", shared)):
            other = nobody.by(**bearer(name))
            for method in ("GetJob", "GetJobResult", "CancelJob", "RetryJob", "DeleteJob"):
                assert (await failure(other.ask(method, id=id)))[0] == "NOT_FOUND"
        listed = {
            name: [job.id for job in (await nobody.by(**bearer(name)).ask("ListJobs")).jobs]
            for name in ("all", "few", "admin")
        }
        assert listed == {"all": [own, shared], "few": [shared], "admin": []}
        refused = await failure(nobody.by(**bearer("asks")).ask("ListJobs"))
        assert refused == ("PERMISSION_DENIED", "key 'asks' may not infer, it may describe")
        assert (await failure(nobody.ask("ListJobs")))[0] == "UNAUTHENTICATED"
        _, job, _ = await ask(hub, "GET", f"/v2/jobs/{shared}", **bearer("few"))
        assert job["state"] == "succeeded"


@pytest.mark.long
async def test_jobs_outlive_their_gateway(tmp_path: Path) -> None:
    """Also what runs when it stops, unless its model must not run twice."""
    once = 'parameters { key: "run_at_most_once" value { string_value: "true" } }'
    mock_model(tmp_path / "models", "once", delay_ms=60_000, more=once)
    async with job_calls(tmp_path) as (hub, caller):
        done, slow = await caller.job(adds(1.0)), await caller.job(features("slow", 1.0))
        lost = await caller.job(features("once", 1.0))
        right = (await caller.result(done)).response
        await eventually(lambda: [one.runs() for one in running(hub)] == [True, True])
    async with job_calls(tmp_path) as (hub, caller):
        assert (await caller.result(done)).response == right
        await eventually(lambda: len(running(hub)) == 1)
        job = await caller.ask("GetJob", id=slow)
        assert (job.state, job.attempts) == ("running", 2)
        job = await caller.ask("GetJob", id=lost)
        assert (job.state, job.attempts, job.error) == ("failed", 1, ONCE)


async def test_attempts_are_counted_and_logged_as_those_of_jobs(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (hub, caller):
        await caller.result(await caller.job(adds(1.0)))
        await caller.result(await caller.job(adds(-1.0)))
        found = await hub.metrics()
        for line in (
            'request_seconds_count{front="job",model="adds",status="200"} 1.0',
            'request_seconds_count{front="job",model="adds",status="400"} 1.0',
            'jobs_ended_total{model="adds",state="succeeded"} 1.0',
            'in_flight{front="job"} 0.0',
        ):
            assert f"inferencehub_gateway_{line}" in found


async def test_a_batch_is_a_job_whose_answers_come_over_http(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (hub, caller):
        bodies = [{"inputs": [ADD]}, {"inputs": [ADD]}, BELOW]
        items = [{"url": "/v2/models/adds/infer", "body": body} for body in bodies]
        _, batch, _ = await ask(hub, "POST", "/v2/jobs", items)
        async with hub.client.get(f"{hub.url}/v2/jobs/{batch['id']}/result?wait=20") as answer:
            assert len((await answer.read()).splitlines()) == 3
        job = await caller.ask("GetJob", id=batch["id"])
        assert (job.state, job.HasField("webhook")) == ("succeeded", False)
        assert counts(job.items) == {"total": 3, "succeeded": 2, "failed": 1}
        code, said = await failure(caller.ask("GetJobResult", id=batch["id"]))
        assert code == "UNIMPLEMENTED"
        assert f"over HTTP: GET /v2/jobs/{batch['id']}/result" in said
        (listed,) = (await caller.ask("ListJobs")).jobs
        assert (listed.id, listed.items) == (batch["id"], job.items)


def counts(items: pb.Items) -> dict[str, int]:
    """How many items stand how, without those that are none."""
    return {field.name: number for field, number in items.ListFields()}


async def test_it_says_how_the_webhook_of_a_job_stands(tmp_path: Path) -> None:
    async with receiving() as receiver, job_calls(tmp_path, **signing(tmp_path, receiver)) as (hub, caller):
        url = f"http://127.0.0.1:{receiver.port}/200/job"
        id = await caller.job(adds(1.0), x_webhook_url=url)
        await settled(hub, f"/v2/jobs/{id}")
        job = await caller.ask("GetJob", id=id)
        webhook = job.webhook
        assert (webhook.url, webhook.state, webhook.attempts, webhook.status, webhook.error) == (
            url,
            "delivered",
            1,
            200,
            "",
        )
        assert not job.HasField("items")
