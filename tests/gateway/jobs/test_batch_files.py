"""Batches over HTTP: a file of calls in, a file of their answers out."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from inferencehub.gateway.http_api.pages.schemas import SCHEMAS
from tests.gateway.jobs.test_jobs import ADD, BELOW, INFER, SLOW, ask, ended, hub_with_jobs, running
from tests.gateway.keyed_hub import bearer, entry, key_file
from tests.hub import Hub, eventually

GOOD: list[tuple[str, Any]] = [
    ("/predict", {"features": [1.0, 2.0], "model_name": "quick"}),
    ("/v2/models/quick/infer", INFER),
    ("/v2/models/quick/versions/1/infer", INFER),
    ("/v1/models/adds:predict", {"instances": [1.5]}),
    ("/v2/models/quick/generate", {"features": [1.0, 2.0]}),
]
FAILS = ("/v2/models/adds/infer", BELOW)
REFUSED: list[tuple[str, Any]] = [
    ("/v2/models/none/infer", INFER),
    ("/v2/models/quick/infer", {"inputs": []}),
    ("/predict", {"features": "x"}),
    ("/v1/chat/completions", {"model": "quick", "messages": []}),
]


def line(url: str, body: Any, **more: Any) -> dict[str, Any]:
    return {"method": "POST", "url": url, "body": body, **more}


def adds(number: float, **more: Any) -> dict[str, Any]:
    return line("/v2/models/adds/infer", {"inputs": [{**ADD, "data": [number]}]}, **more)


def jsonl(lines: list[Any]) -> bytes:
    return b"".join([json.dumps(one).encode() + b"\n" for one in lines])


async def uploaded(hub: Hub, data: bytes, **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON and headers of the answer to a file."""
    names = {
        "content-type": "application/jsonl",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    async with hub.client.post(f"{hub.url}/v2/jobs", data=data, headers=names) as answer:
        return answer.status, await answer.json(), answer.headers


async def accepted(hub: Hub, lines: list[Any], **headers: str) -> str:
    """The path of a batch."""
    status, found, told = await uploaded(hub, jsonl(lines), **headers)
    assert status in (200, 202), found
    assert told["location"] == f"/v2/jobs/{found['id']}"
    assert found["items"]["total"] == len(lines)
    return str(told["location"])


async def results(hub: Hub, batch: str, **headers: str) -> list[dict[str, Any]]:
    """All lines of the result, once the batch has ended."""
    while True:
        async with hub.client.get(f"{hub.url}{batch}/result?wait=20", headers=headers) as answer:
            text = await answer.text()
            if answer.status != 202:
                assert (answer.status, answer.headers["content-type"]) == (200, "application/jsonl"), text
                return [json.loads(one) for one in text.splitlines()]


async def test_the_answers_are_those_of_calls_in_the_order_of_the_file(tmp_path: Path) -> None:
    items = [*GOOD, FAILS, *REFUSED, *reversed(GOOD)]
    async with hub_with_jobs(tmp_path) as hub:
        right = [await ask(hub, "POST", *one) for one in items]
        batch = await accepted(hub, [line(*one, custom_id=f"c{place}") for place, one in enumerate(items)])
        found = await results(hub, batch)
        id = batch.rpartition("/")[2]
        assert [one["custom_id"] for one in found] == [f"c{place}" for place in range(len(items))]
        for place, (one, (status, body, _)) in enumerate(zip(found, right, strict=True), 1):
            assert (one["id"], one["error"]) == (f"{id}-{place:06}", None)
            response = one["response"]
            assert (response["status_code"], response["body"]) == (status, body)
            assert response["request_id"] == one["id"]
        record = await ended(hub, batch)
        assert record.keys() == SCHEMAS["Job"]["properties"].keys()
        assert (record["state"], record["status"], record["error"]) == ("succeeded", None, None)
        bad = 1 + len(REFUSED)
        counts = {"waiting": 0, "running": 0, "cancelled": 0, "expired": 0, "progress": 1.0}
        assert record["items"] == {
            "total": len(items),
            "succeeded": len(items) - bad,
            "failed": bad,
            **counts,
        }
        _, page, _ = await ask(hub, "GET", "/v2/jobs")
        assert [one["id"] for one in page["jobs"]] == [id], "its items are not listed"
        item = f"/v2/jobs/{found[0]['id']}"
        assert (await ask(hub, "GET", item))[1]["state"] == "succeeded"
        assert (await ask(hub, "GET", f"{item}/result"))[1] == right[0][1]
        for method, path in (("POST", f"{item}/cancel"), ("POST", f"{item}/retry"), ("DELETE", item)):
            status, said, _ = await ask(hub, method, path)
            assert (status, said["error"]) == (
                409,
                f"job {found[0]['id']} is an item of a batch, expected the batch: {id}",
            )


async def test_a_list_is_a_file_too(tmp_path: Path) -> None:
    data = json.dumps([adds(1), adds(2)]).encode()
    async with hub_with_jobs(tmp_path) as hub:
        for kind in ("application/json", "application/x-ndjson", "application/x-www-form-urlencoded"):
            status, found, _ = await uploaded(hub, data, content_type=kind)
            assert found["model"] == "adds"
            # Its items may run by now.
            assert (status, found["state"]) in ((202, "queued"), (202, "running"), (200, "succeeded"))
            lines = await results(hub, f"/v2/jobs/{found['id']}")
            assert [(one["custom_id"], one["response"]["body"]["outputs"][0]["data"]) for one in lines] == [
                ("1", [2.0]),
                ("2", [3.0]),
            ]


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 400, "the body has no items"),
        (b"\n \n", 400, "the body has no items"),
        (b"[]", 400, "the body has no items"),
        (jsonl([adds(1)]) + b"\n{", 400, "line 3: expected a JSON object, but it is no JSON"),
        (jsonl([adds(1), {"url": "/predict"}]), 400, "line 2: it is not as expected: object missing required field `body`"),
        (jsonl([adds(1), {**adds(1), "url": 1}]), 400, "line 2: it is not as expected: expected `string`, got `integer` - at `$.url`"),
        (jsonl([adds(1, custom_id="a"), adds(2), adds(3, custom_id="a")]), 400, "line 3: custom_id 'a' is that of line 1 already"),
        (jsonl([adds(1, custom_id="2"), adds(2)]), 400, "line 2: custom_id '2' is that of line 1 already"),
        (jsonl([adds(1, custom_id="x" * 600)]), 400, "line 1: custom_id has 600 characters, expected at most 512"),
        (json.dumps([adds(1), 5]).encode(), 400, "item 2: it is not as expected: expected `object`, got `integer`"),
        (b"[" + jsonl([adds(1)]), 400, "ends too early"),
        (jsonl([adds(number) for number in range(5)]), 413, "line 5: expected at most 4 items in a batch"),
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_read_leaves_nothing(
    tmp_path: Path, data: bytes, status: int, said: str
) -> None:
    async with hub_with_jobs(tmp_path, jobs_queue_length=4) as hub:
        answer = await uploaded(hub, data)
        assert answer[0] == status
        assert said in answer[1]["error"]
        assert (await ask(hub, "GET", "/v2/jobs"))[1]["jobs"] == []
        await accepted(hub, [adds(number) for number in range(4)])


async def test_paths_that_call_no_model_are_refused_items(tmp_path: Path) -> None:
    urls = ["/v2/jobs", "/v2/models/adds", "http://elsewhere/predict", "", "/ä", "/" + "x" * 3000]
    async with hub_with_jobs(tmp_path) as hub:
        batch = await accepted(hub, [*[line(url, {}) for url in urls], adds(1, method="GET"), adds(1)])
        found = await results(hub, batch)
        statuses = [one["response"]["status_code"] for one in found]
        assert statuses == [404] * len(urls) + [405, 200]
        assert found[0]["response"]["body"]["error"].startswith("there is no model to call at '/v2/jobs'")


async def test_answers_that_are_no_json(tmp_path: Path) -> None:
    events = "/v2/models/counter/generate_stream", {"count": 3}
    binary = {**INFER, "inputs": [{**ADD, "data": [1.5]}], "parameters": {"binary_data_output": True}}
    async with hub_with_jobs(tmp_path) as hub:
        async with hub.client.post(f"{hub.url}{events[0]}", json=events[1]) as answer:
            text = await answer.text()
        async with hub.client.post(f"{hub.url}/v2/models/adds/infer", json=binary) as answer:
            data, length = await answer.read(), answer.headers["inference-header-content-length"]
        batch = await accepted(hub, [line(*events), line("/v2/models/adds/infer", binary)])
        first, second = [one["response"] for one in await results(hub, batch)]
        assert (first["status_code"], first["body"]) == (200, text)
        assert (base64.b64decode(second["body"]), second["encoding"]) == (data, "base64")
        assert second["headers"]["inference-header-content-length"] == length


async def test_how_far_it_is_and_cancel(tmp_path: Path) -> None:
    """One place, so its items run one after another."""
    async with hub_with_jobs(tmp_path) as hub:
        batch = await accepted(hub, [adds(1), line(*SLOW), line(*SLOW), line("/v2/models/none/infer", INFER)])

        async def stands() -> Any:
            _, found, _ = await ask(hub, "GET", batch)
            return found

        async with asyncio.timeout(20):
            await eventually(lambda: len(running(hub)) == 1)
            while not (found := await stands())["items"]["succeeded"]:  # noqa: ASYNC110  as callers ask
                await asyncio.sleep(0.02)
        assert (found["state"], found["items"]["progress"], found["items"]["failed"]) == ("running", 0.5, 1)
        assert (found["items"]["running"], found["items"]["waiting"]) == (1, 1)
        status, record, _ = await ask(hub, "GET", f"{batch}/result")
        assert (status, record["id"]) == (202, found["id"])
        status, record, _ = await ask(hub, "POST", f"{batch}/cancel")
        assert (status, record["state"], record["items"]["cancelled"]) == (200, "cancelled", 2)
        assert not running(hub), "it does not run on until its lease is asked for"
        lines = await results(hub, batch)
        assert [one["error"] for one in lines] == [
            None,
            *[{"code": "cancelled", "message": "it was cancelled"}] * 2,
            None,
        ]
        assert [one["response"] is None for one in lines] == [False, True, True, False]
        assert (await ask(hub, "DELETE", batch))[0] == 200
        for path in (batch, f"{batch}/result", f"/v2/jobs/{lines[0]['id']}"):
            assert (await ask(hub, "GET", path))[0] == 404


async def test_items_that_failed_run_again(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        batch = await accepted(hub, [adds(-1), adds(1), line("/v2/models/none/infer", INFER)])
        assert [one["response"]["status_code"] for one in await results(hub, batch)] == [400, 200, 404]
        status, record, _ = await ask(hub, "POST", f"{batch}/retry")
        assert (status, record["items"]["failed"]) == (200, 1)
        first = (await results(hub, batch))[0]
        assert (await ask(hub, "GET", f"/v2/jobs/{first['id']}"))[1]["attempts"] == 2


async def test_headers_hold_for_the_batch(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        lines = [adds(1), adds(2)]
        said = {
            "idempotency_key": "k",
            "x_job_priority": "7",
            "x_job_ttl_s": "50",
            "x_job_not_before": "2020-01-01T00:00:00Z",
        }
        batch = await accepted(hub, lines, **said)
        assert await accepted(hub, lines, **said) == batch
        status, found, _ = await uploaded(hub, jsonl([adds(3)]), **said)
        assert (status, found["error"][:21]) == (422, "Idempotency-Key 'k' c")
        record = await ended(hub, batch)
        assert (record["priority"], len((await ask(hub, "GET", "/v2/jobs"))[1]["jobs"])) == (7, 1)
        for header, value in (("x_job_priority", "10"), ("x_request_timeout_ms", "0")):
            assert (await uploaded(hub, jsonl(lines), **{header: value}))[0] == 400
        slow = await accepted(hub, [line(*SLOW)], x_request_timeout_ms="300")
        (one,) = await results(hub, slow)
        assert "deadline" in json.dumps(one["response"]["body"])


async def test_tenants_and_rights(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    keys = [
        entry("all", tenant="x"),
        entry("few", tenant="x", models=["quick"]),
        entry("later", tenant="x", models=["quick", "adds"]),
        entry("admin", tenant="y"),
    ]
    file.write_text(json.dumps({"keys": keys}))
    async with hub_with_jobs(tmp_path, api_keys=str(file)) as hub:
        mixed = [adds(1), line("/v2/models/quick/infer", INFER)]
        batch = await accepted(hub, mixed, **bearer("all"))
        assert len(await results(hub, batch, **bearer("all"))) == 2
        for who in (
            "few",
            "admin",
        ):  # one has no right to all of its models, the other one is of another tenant
            for method, path in (
                ("GET", batch),
                ("GET", f"{batch}/result"),
                ("POST", f"{batch}/cancel"),
                ("DELETE", batch),
            ):
                assert (await ask(hub, method, path, **bearer(who)))[0] == 404, (who, path)
            assert (await ask(hub, "GET", "/v2/jobs", **bearer(who)))[1]["jobs"] == []
        assert (await ask(hub, "GET", batch, **bearer("later")))[0] == 200, "who may use all of its models"
        found = await results(hub, await accepted(hub, mixed, **bearer("few")), **bearer("few"))
        right = await ask(hub, "POST", mixed[0]["url"], mixed[0]["body"], **bearer("few"))
        assert [one["response"]["status_code"] for one in found] == [right[0], 200]
        assert found[0]["response"]["body"] == right[1]
        assert right[0] in (403, 404)
        assert (await uploaded(hub, jsonl(mixed)))[0] == 401


async def test_large_items_are_read_beside_the_event_loop(tmp_path: Path) -> None:
    """More than a thread reads, and more than is kept at a time; all that they held is given back."""
    large = line("/predict", {"features": [0.123456789] * 200_000, "model_name": "quick"})
    async with hub_with_jobs(tmp_path) as hub:
        batch = await accepted(hub, [large, adds(1), large])
        assert [one["response"]["status_code"] for one in await results(hub, batch)] == [200, 200, 200]
        await eventually(lambda: hub.gateway.bytes_held.held == 0)
