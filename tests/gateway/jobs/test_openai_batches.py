"""OpenAI's files and batches, with OpenAI's own client, over both stores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any, Literal

import openai
import pytest
import pytest_asyncio

from tests.gateway.http_api.openai.scripted import scripted
from tests.hub import Hub, running_hub
from tests.valkey import running_valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"


@pytest_asyncio.fixture(params=["sqlite", "valkey"], scope="module", loop_scope="module")
async def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """A hub with a model that says what it is told to."""
    directory = tmp_path_factory.mktemp("hub")
    if request.param == "sqlite":
        async with chat_hub(directory, jobs=f"sqlite:{directory / 'jobs.db'}") as hub:
            yield hub
    else:
        async with running_valkey(directory) as valkey, chat_hub(directory, jobs=valkey.url) as hub:
            yield hub


@asynccontextmanager
async def chat_hub(directory: Path, **settings: Any) -> AsyncIterator[Hub]:
    scripted(directory / "models", "chat")
    async with running_hub(directory / "models", **{"drain_timeout_s": 1.0, **settings}) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(hub: Hub) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(hub) as client:
        yield client


def client_of(hub: Hub, key: str = "any") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=key, max_retries=0)


def line(custom_id: str, said: str, **more: Any) -> dict[str, Any]:
    body = {"model": "chat", "messages": [{"role": "user", "content": said}]}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body, **more}


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


async def uploaded(
    client: openai.AsyncOpenAI, *lines: Any, name: str = "in.jsonl"
) -> openai.types.FileObject:
    return await client.files.create(file=(name, jsonl(*lines)), purpose="batch")


async def made(client: openai.AsyncOpenAI, *lines: Any, **more: Any) -> openai.types.Batch:
    file = await uploaded(client, *lines)
    return await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", **more)


async def ended(hub: Hub, client: openai.AsyncOpenAI, id: str) -> openai.types.Batch:
    async with hub.client.get(
        f"{hub.url}/v2/jobs/{id}/result?wait=20", headers=client.auth_headers
    ) as answer:
        assert answer.status == 200
        await answer.read()
    return await client.batches.retrieve(id)


async def lines_of(client: openai.AsyncOpenAI, id: str | None) -> list[dict[str, Any]]:
    assert id is not None
    return [json.loads(one) for one in (await client.files.content(id)).text.splitlines()]


async def refused(call: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as raised:
        await call
    return raised.value


async def test_a_batch_from_its_file_to_its_output(hub: Hub, client: openai.AsyncOpenAI) -> None:
    fails = line("c", json.dumps({"pieces": ["x"], "error": "no"}))
    wrong = line("d", "hello", body={"model": "none", "messages": [{"role": "user", "content": "hello"}]})
    file = await uploaded(client, line("a", "hello"), line("b", "there"), fails, wrong)
    batch = await client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"of": "monday"}
    )
    assert batch.status in ("validating", "in_progress", "completed")
    assert (batch.endpoint, batch.input_file_id, batch.completion_window) == (CHAT, file.id, "24h")
    assert batch.expires_at == pytest.approx(batch.created_at + 86_400, abs=1)
    batch = await ended(hub, client, batch.id)
    assert (batch.status, batch.object, batch.errors) == ("completed", "batch", None)
    assert batch.metadata == {"of": "monday"}
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 4, "completed": 2, "failed": 2}
    assert batch.created_at <= (batch.in_progress_at or 0) <= (batch.completed_at or 0) <= time()
    assert (batch.finalizing_at, batch.failed_at, batch.cancelled_at) == (batch.completed_at, None, None)
    good = await lines_of(client, batch.output_file_id)
    said = [(one["custom_id"], one["response"]["body"]["choices"][0]["message"]["content"]) for one in good]
    assert said == [("a", "hello"), ("b", "there")]
    assert [(one["response"]["status_code"], one["error"]) for one in good] == [(200, None)] * 2
    bad = await lines_of(client, batch.error_file_id)
    assert [(one["custom_id"], one["response"]["status_code"]) for one in bad] == [("c", 400), ("d", 404)]
    assert bad[1]["response"]["body"]["error"]["code"] == "model_not_found"
    assert batch.output_file_id is not None
    output = await client.files.retrieve(batch.output_file_id)
    content = (await client.files.content(output.id)).content
    assert (output.bytes, output.purpose, output.status) == (len(content), "batch_output", "processed")
    assert output.expires_at == pytest.approx((batch.completed_at or 0) + 86_400, abs=1)
    assert (await refused(client.files.delete(output.id))).status_code == 409
    assert (await refused(client.batches.cancel(batch.id))).status_code == 409
    async with hub.client.delete(f"{hub.url}/v2/jobs/{batch.id}") as answer:
        assert answer.status == 200
    for call in (
        client.files.content(output.id),
        client.files.retrieve(output.id),
        client.batches.retrieve(batch.id),
    ):
        assert isinstance(await refused(call), openai.NotFoundError)


async def test_a_large_output_comes_in_pieces(hub: Hub, client: openai.AsyncOpenAI) -> None:
    texts = [letter * 400_000 for letter in "abcdef"]
    batch = await made(client, *[line(text[0], text) for text in texts])
    found = await lines_of(client, (await ended(hub, client, batch.id)).output_file_id)
    assert [one["response"]["body"]["choices"][0]["message"]["content"] for one in found] == texts


async def test_files(hub: Hub, client: openai.AsyncOpenAI) -> None:
    data = jsonl(line("a", "hello " * 10_000))
    first = await client.files.create(file=("größe.jsonl", data), purpose="batch")
    assert (first.filename, first.bytes, first.purpose, first.object) == (
        "größe.jsonl",
        len(data),
        "batch",
        "file",
    )
    assert (first.expires_at or 0) - first.created_at == pytest.approx(3600, abs=1)
    second = await client.files.create(
        file=b"x", purpose="batch", expires_after={"anchor": "created_at", "seconds": 7200}
    )
    assert (second.expires_at or 0) - second.created_at == pytest.approx(7200, abs=1)
    third = await client.files.create(file=b"", purpose="batch")
    assert await client.files.retrieve(first.id) == first
    assert (await client.files.content(first.id)).content == data
    assert (await client.files.content(third.id)).content == b""
    ids = [third.id, second.id, first.id]
    assert [one.id async for one in client.files.list()][:3] == ids
    assert [one.id async for one in client.files.list(limit=1)][:3] == ids
    assert [one.id async for one in client.files.list(limit=1, order="asc")][-3:] == ids[::-1]
    assert (await client.files.list(after=second.id)).data[0] == first
    assert [one async for one in client.files.list(purpose="fine-tune")] == []
    deleted = await client.files.delete(second.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (second.id, True, "file")
    for call in (
        client.files.retrieve(second.id),
        client.files.content(second.id),
        client.files.delete(second.id),
    ):
        error = await refused(call)
        assert (error.status_code, error.body) == (
            404,
            {
                "message": f"there is no file '{second.id}'",
                "type": "invalid_request_error",
                "param": "id",
                "code": None,
            },
        )
    assert [one.id async for one in client.files.list()][:2] == [third.id, first.id]


async def test_a_file_that_is_not_as_expected(hub: Hub, client: openai.AsyncOpenAI) -> None:
    """All of it is said, and nothing runs."""
    lines = [
        line("a", "hello"),
        line("b", "hello", url="/v1/embeddings"),
        line("a", "hello"),
        {"method": "POST", "url": CHAT, "body": {}},
        line("c", "hello", method="GET"),
        line("d", "hello", body={"model": "chat", "stream": True}),
        5,
        line("e", "hello", body=[]),
        line("x" * 600, "hello"),
    ]
    file = await client.files.create(file=jsonl(*lines) + b"\n{", purpose="batch")
    batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert batch.created_at <= (batch.failed_at or 0)
    assert batch.in_progress_at is None
    assert batch.errors is not None
    assert batch.errors.object == "list"
    assert [(one.line, one.code, one.param) for one in batch.errors.data or []] == [
        (2, "invalid_url", "url"),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "missing_required_parameter", "custom_id"),
        (5, "invalid_method", "method"),
        (6, "unsupported_parameter", "body.stream"),
        (7, "invalid_json_line", None),
        (8, "invalid_json_line", None),
        (9, "invalid_value", "custom_id"),
        (11, "invalid_json_line", None),
    ]
    assert batch.errors.data
    assert batch.errors.data[0].message == f"expected the endpoint of the batch, {CHAT}, got '/v1/embeddings'"
    assert await client.batches.retrieve(batch.id) == batch
    assert (await refused(client.batches.cancel(batch.id))).status_code == 409
    status, job, _ = await hub.get(f"/v2/jobs/{batch.id}")
    assert (status, job["state"], job["items"]["total"], job["items"]["progress"]) == (200, "failed", 0, 1.0)


async def test_files_that_are_empty_or_have_too_much(tmp_path: Path) -> None:
    async with (
        chat_hub(tmp_path, jobs="sqlite::memory:", jobs_queue_length=3) as hub,
        client_of(hub) as client,
    ):
        for data, code, number in (
            (b"", "empty_file", None),
            (b"\n \n", "empty_file", None),
            (jsonl(*[line(str(one), "x") for one in range(4)]), "too_many_tasks", 4),
            (b"5\n" * 500, "invalid_json_line", 1),
        ):
            file = await client.files.create(file=data, purpose="batch")
            batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            assert batch.errors is not None
            assert batch.errors.data
            assert (batch.status, batch.errors.data[0].code, batch.errors.data[0].line) == (
                "failed",
                code,
                number,
            )
            assert len(batch.errors.data) <= 100


async def test_batches_are_listed_page_by_page(hub: Hub, client: openai.AsyncOpenAI) -> None:
    ids = [(await made(client, line("a", "hello"))).id for _ in range(5)]
    other = jsonl({"url": CHAT, "body": line("a", "hello")["body"]})
    async with hub.client.post(f"{hub.url}/v2/jobs", data=other) as answer:
        elsewhere = (await answer.json())["id"]
    ids.reverse()
    assert [one.id async for one in client.batches.list()][:5] == ids
    every = [one.id async for one in client.batches.list(limit=2)]
    assert every[:5] == ids
    page = await client.batches.list(limit=2, after=ids[1])
    assert ([one.id for one in page.data], page.has_more) == (ids[2:4], True)
    page = await client.batches.list(limit=2, after=every[-3])
    assert ([one.id for one in page.data], page.has_more) == (every[-2:], False)
    assert (await client.batches.list(after="a" * 1000)).data == []
    assert isinstance(await refused(client.batches.retrieve(elsewhere)), openai.NotFoundError)
    await ended(hub, client, ids[0])


async def test_cancel(hub: Hub, client: openai.AsyncOpenAI) -> None:
    """What has ended stays in the output, all else is in the file of errors."""
    slow = json.dumps({"pieces": ["x"], "times": 10_000, "pause_s": 0.1})
    batch = await made(client, line("a", "hello"), *[line(str(one), slow) for one in range(3)])
    assert (await client.batches.cancel(batch.id)).status in ("cancelling", "cancelled")
    batch = await ended(hub, client, batch.id)
    assert batch.status == "cancelled"
    assert batch.cancelled_at == batch.cancelling_at
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.failed) in ((4, 3), (4, 4))
    missing = {one["custom_id"]: one["error"] for one in await lines_of(client, batch.error_file_id)}
    assert missing["2"] == {"code": "batch_cancelled", "message": "it was cancelled"}
    assert (await client.batches.cancel(batch.id)).status == "cancelled"
    for id in ("none", "file-1", f"{'0' * 32}_batch", "x" * 5000):
        for call in (client.batches.retrieve(id), client.batches.cancel(id)):
            assert isinstance(await refused(call), openai.NotFoundError), id
    item = {"url": "/v1/chat/completions", "body": line("1", slow)["body"]}
    _, other, _ = await hub.post("/v2/jobs", [item])
    assert isinstance(await refused(client.batches.cancel(other["id"])), openai.NotFoundError)
    assert (await hub.get(f"/v2/jobs/{other['id']}"))[1]["ended"] is None, (
        "what is not there is not cancelled either"
    )
    assert (await hub.post(f"/v2/jobs/{other['id']}/cancel"))[0] == 200


async def test_what_did_not_run_in_time_has_expired(
    hub: Hub, client: openai.AsyncOpenAI, tmp_path: Path
) -> None:
    """The first item runs until one of the others has."""
    slow = json.dumps({"pieces": ["x"], "go": str(tmp_path / "go")})
    batch = await made(
        client,
        *[line(str(one), slow) for one in range(5)],
        extra_headers={"X-Job-Ttl-S": "1"},
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert (batch.expires_at or 0) - batch.created_at == pytest.approx(1, abs=1)
    async with asyncio.timeout(20):
        while not (await hub.get(f"/v2/jobs/{batch.id}"))[1]["items"]["expired"]:  # noqa: ASYNC110  as callers ask
            await asyncio.sleep(0.05)
    (tmp_path / "go1").touch()
    batch = await ended(hub, client, batch.id)
    assert batch.status == "expired"
    assert (batch.expired_at or 0) >= batch.created_at
    assert (await lines_of(client, batch.output_file_id))[0]["custom_id"] == "0"
    assert batch.error_file_id is not None
    file = await client.files.retrieve(batch.error_file_id)
    assert file.expires_at == pytest.approx((batch.expired_at or 0) + 7200, abs=1)
    missing = await lines_of(client, batch.error_file_id)
    assert {one["error"]["code"] for one in missing} == {"batch_expired"}


async def test_a_key_makes_one_batch(hub: Hub, client: openai.AsyncOpenAI) -> None:
    file = await uploaded(client, line("a", "hello"))
    headers = {"Idempotency-Key": "monday"}

    async def again(**more: Any) -> openai.types.Batch:
        return await client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h", extra_headers=headers, **more
        )

    first = await again()
    assert (await again()).id == first.id
    assert (await refused(again(metadata={"a": "b"}))).status_code == 422
    assert (await client.batches.list()).data[0].id == first.id
    assert [one.id async for one in client.batches.list()].count(first.id) == 1
    await ended(hub, client, first.id)
