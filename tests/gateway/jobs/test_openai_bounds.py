"""What OpenAI's files and batches may not do, who sees them, and what the documentation says of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.gateway.jobs.test_openai_batches import (
    CHAT,
    chat_hub,
    client_of,
    ended,
    jsonl,
    line,
    lines_of,
    made,
    refused,
    uploaded,
)
from tests.gateway.keyed_hub import KEYS, entry, key_file
from tests.hub import MODELS, Hub, running_hub
from tests.pages import page

ASKED: dict[str, Any] = {"endpoint": CHAT, "completion_window": "24h"}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    async with chat_hub(tmp_path_factory.mktemp("hub"), jobs="sqlite::memory:") as hub:
        yield hub


def message(error: openai.APIStatusError) -> str:
    assert isinstance(error.body, dict)
    return str(error.body["message"])


async def test_a_tenant_has_so_many_bytes(tmp_path: Path) -> None:
    settings = {"jobs": "sqlite::memory:", "jobs_files_bytes": 2000, "max_body_bytes": 3000}
    async with chat_hub(tmp_path, **settings) as hub, client_of(hub) as client:
        first = await client.files.create(file=b"x" * 1500, purpose="batch")
        error = await refused(client.files.create(file=b"x" * 501, purpose="batch"))
        assert isinstance(error, openai.RateLimitError)
        assert message(error).startswith(
            "there are files of 1500 bytes, and with 501 more they would be larger than 2000"
        )
        await client.files.delete(first.id)
        await client.files.create(file=b"x" * 501, purpose="batch")
        assert (await refused(client.files.create(file=b"x" * 3000, purpose="batch"))).status_code == 413
        assert hub.gateway.bytes_held.held == 0


async def test_bytes_that_are_held_are_counted(tmp_path: Path) -> None:
    async with chat_hub(tmp_path, jobs="sqlite::memory:", queue_bytes=2**20) as hub, client_of(hub) as client:
        data = jsonl(line("a", "x" * 400_000))
        file = await client.files.create(file=data, purpose="batch")
        hub.gateway.bytes_held.take(700_000)
        try:
            assert isinstance(
                await refused(client.files.create(file=data, purpose="batch")), openai.RateLimitError
            )
            error = await refused(client.batches.create(input_file_id=file.id, **ASKED))
            assert isinstance(error, openai.RateLimitError)
        finally:
            hub.gateway.bytes_held.give(700_000)
        assert hub.gateway.bytes_held.held == 0
        assert [one async for one in client.batches.list()] == []


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "input_file_id", "'input_file_id' is missing"),
        ({"input_file_id": 5, **ASKED}, "input_file_id", "expected a string, got 5"),
        ({"input_file_id": "file-1", **ASKED}, "input_file_id", "there is no file 'file-1'"),
        ({"input_file_id": f"file-{'0' * 32}_batch-output", **ASKED}, "input_file_id", "there is no file"),
        ({"input_file_id": "f", **ASKED, "endpoint": "/v1/responses"}, "endpoint", "expected one of /v1/chat/completions, "),
        ({"input_file_id": "f", **ASKED, "endpoint": "/predict"}, "endpoint", "expected one of"),
        ({"input_file_id": "f", **ASKED, "completion_window": "1h"}, "completion_window", "expected '24h', got '1h'"),
        ({"input_file_id": "f", **ASKED, "metadata": []}, "metadata", "expected an object"),
        ({"input_file_id": "f", **ASKED, "metadata": {"a": 5}}, "metadata", "got 'a' and 5"),
        ({"input_file_id": "f", **ASKED, "metadata": {"a": "x" * 513}}, "metadata", "texts of 512 at most"),
        ({"input_file_id": "f", **ASKED, "metadata": {str(one): "" for one in range(17)}}, "metadata", "16 pairs at most"),
        ({"input_file_id": "f", **ASKED, "output_expires_after": 5}, "output_expires_after", "expected an object"),
        ({"input_file_id": "f", **ASKED, "output_expires_after": {"anchor": "created_at", "seconds": 5}},
         "output_expires_after", "from 3600 to 2592000 seconds, got 'created_at' and 5"),
        ({"input_file_id": "f", **ASKED, "model": "chat"}, "model", "'model' is unknown"),
    ],
)  # fmt: skip
async def test_a_batch_that_is_not_as_expected(hub: Hub, body: Any, param: str, said: str) -> None:
    status, found, _ = await hub.post("/v1/batches", body)
    assert (status, found["error"]["param"], found["error"]["type"]) == (400, param, "invalid_request_error")
    assert said in found["error"]["message"]


FORM = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
PURPOSE = FORM % (b"purpose", b"", b"batch")
FILE = FORM % (b"file", b'; filename="a.jsonl"', b"{}")
END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is no form"),
        (FILE.replace(b"a.jsonl", b"\xff") + END, "the body is no form: Segment header failed to decode"),
        (FILE.replace(b'; name="file"', b"") + PURPOSE + END, "Missing name option"),
        (PURPOSE + END, "the form has no part 'file'"),
        (FILE + END, "'purpose': expected 'batch', got None"),
        (FILE + PURPOSE.replace(b"batch", b"vision") + END, "'purpose': expected 'batch', got 'vision'"),
        (FILE + PURPOSE, "the body is no form"),
        (FILE + PURPOSE.replace(b"batch", b"x" * 2000) + END, "'purpose' has 2000 bytes, expected at most 1024"),
        (FILE + PURPOSE.replace(b"batch", b"\xff") + END, "'purpose' is no text in UTF-8"),
        (PURPOSE * 20 + FILE + END, "the body is no form"),
        (FILE + FORM % (b"x" * 10_000, b"", b"") + END, "the body is no form"),
        (FILE + PURPOSE + FORM % (b"expires_after[seconds]", b"", b"4000") + END, "'expires_after': expected the anchor"),
        (FILE + PURPOSE + FORM % (b"expires_after[seconds]", b"", b"x") + END, "and 'x'"),
    ],
)  # fmt: skip
async def test_an_upload_that_is_not_as_expected(hub: Hub, body: bytes, said: str) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    async with hub.client.post(f"{hub.url}/v1/files", data=body, headers=headers) as answer:
        found = await answer.json()
        assert (answer.status, found["error"]["type"]) == (400, "invalid_request_error")
        assert said in found["error"]["message"]
    assert (await hub.get("/v1/files"))[1]["data"] == []


async def test_bodies_of_other_types_and_queries(hub: Hub) -> None:
    for kind in ("application/json", "multipart/form-data", "multipart/form-data; boundary="):
        async with hub.client.post(
            f"{hub.url}/v1/files", data=b"{}", headers={"content-type": kind}
        ) as answer:
            assert answer.status == 400
            assert "expected a form (multipart/form-data" in (await answer.json())["error"]["message"]
    for path in (
        "/v1/files?limit=0",
        "/v1/files?limit=10001",
        "/v1/files?order=up",
        "/v1/batches?limit=101",
        "/v1/batches?limit=x",
    ):
        status, found, _ = await hub.get(path)
        assert (status, found["error"]["type"]) == (400, "invalid_request_error"), path
    for path in ("/v1/files/a/b", "/v1/batches/a/b"):
        assert (await hub.get(path))[1]["error"]["code"] == "unknown_url"


async def test_tenants_and_rights(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    keys = [
        entry("all", tenant="x"),
        entry("few", tenant="x", models=["other"]),
        entry("asks", tenant="x", actions=["describe"]),
        entry("later", tenant="y"),
    ]
    file.write_text(json.dumps({"keys": keys}))
    async with chat_hub(tmp_path, jobs=f"sqlite:{tmp_path / 'jobs.db'}", api_keys=str(file)) as hub:
        mine, few, asks, later = (client_of(hub, KEYS[name]) for name in ("all", "few", "asks", "later"))
        sent = await uploaded(mine, line("a", "hello"))
        batch = await mine.batches.create(input_file_id=sent.id, **ASKED)
        batch = await ended(hub, mine, batch.id)
        assert batch.output_file_id is not None
        for client, sees in ((few, True), (later, False)):
            assert [one.id async for one in client.files.list()] == [sent.id] * sees
            assert [one.id async for one in client.batches.list()] == []
            for call in (
                client.batches.retrieve(batch.id),
                client.batches.cancel(batch.id),
                client.files.retrieve(batch.output_file_id),
                client.files.content(batch.output_file_id),
                client.files.delete(batch.output_file_id),
            ):
                assert isinstance(await refused(call), openai.NotFoundError)
        for call in (
            later.files.retrieve(sent.id),
            later.files.content(sent.id),
            later.files.delete(sent.id),
        ):
            assert isinstance(await refused(call), openai.NotFoundError)
        error = await refused(later.batches.create(input_file_id=sent.id, **ASKED))
        assert message(error) == f"'input_file_id': there is no file '{sent.id}'"
        calls: tuple[Any, ...] = asks.files.list(), asks.batches.list(), uploaded(asks, line("a", "hello"))
        for call in calls:
            assert isinstance(await refused(call), openai.PermissionDeniedError)
        assert isinstance(await refused(client_of(hub, "none").files.list()), openai.AuthenticationError)
        own = await ended(hub, few, (await made(few, line("a", "hello"))).id)
        (one,) = await lines_of(few, own.error_file_id)
        assert one["response"]["status_code"] == 403
        assert [one.id async for one in mine.batches.list()] == [own.id, batch.id]


async def test_a_limit_of_rows_counts_a_batch(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.write_text(json.dumps({"keys": [entry("all", rows=0.01, rows_burst=2)]}))
    async with chat_hub(tmp_path, jobs="sqlite::memory:", api_keys=str(file)) as hub:
        client = client_of(hub, KEYS["all"])
        lines = [line(str(number), "hello") for number in range(5)]
        await made(client, *lines)
        assert isinstance(await refused(made(client, *lines)), openai.RateLimitError)
        assert len([one async for one in client.batches.list()]) == 1


async def test_there_are_none_without_jobs(tmp_path: Path) -> None:
    async with chat_hub(tmp_path) as hub, client_of(hub) as client:
        for call in (
            client.files.list(),
            uploaded(client, line("a", "b")),
            client.batches.list(),
            client.batches.cancel("1"),
        ):
            error = await refused(call)
            assert (error.status_code, message(error)[:17]) == (501, "there are no jobs")


async def test_files_outlive_their_gateway(tmp_path: Path) -> None:
    settings = {"jobs": f"sqlite:{tmp_path / 'jobs.db'}"}
    async with chat_hub(tmp_path, **settings) as hub, client_of(hub) as client:
        sent = await uploaded(client, line("a", "hello"), name="calls.jsonl")
        batch = await made(client, line("b", "there"), metadata={"a": "b"})
    async with chat_hub(tmp_path, **settings) as hub, client_of(hub) as client:
        assert await client.files.retrieve(sent.id) == sent
        found = await ended(hub, client, batch.id)
        assert (found.status, found.metadata) == ("completed", {"a": "b"})
        await client.batches.create(input_file_id=sent.id, **ASKED)


async def test_the_program_of_the_documentation_works() -> None:
    (program,) = re.findall(r"<!-- batched -->\n```python\n(.*?)```", page("docs/jobs.md"), re.DOTALL)
    said: list[tuple[str, str]] = []
    async with running_hub(MODELS, jobs="sqlite::memory:") as hub:
        assert "http://localhost:3000" in program
        asked = compile(program.replace("http://localhost:3000", hub.url), "docs/jobs.md", "exec")
        names = {"print": lambda *words: said.append(words)}
        await asyncio.to_thread(exec, asked, names)
    assert [dish for dish, _ in said] == ["soup", "bread"]
    assert all(text for _, text in said)
