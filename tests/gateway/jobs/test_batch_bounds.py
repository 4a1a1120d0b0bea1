"""What a batch may not do: use more than its sender may, run in parts, or fill the memory."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.jobs.test_batch_files import accepted, adds, jsonl, line, results, uploaded
from tests.gateway.jobs.test_crashes import MODEL
from tests.gateway.jobs.test_jobs import ADDS, INFER, ask, hub_with_jobs, running
from tests.gateway.keyed_hub import bearer, entry
from tests.hub import Hub, Process, eventually, mock_model, running_gateway, write_model
from tests.ports import free_port

SLOWLY = 0.01  # a row comes in 100 s: no test lasts so long


@asynccontextmanager
async def limited_hub(directory: Path, file: dict[str, Any], **key: Any) -> AsyncIterator[Hub]:
    """A gateway with jobs, and limits of the key "all" and in the file."""
    (directory / "keys.json").write_text(json.dumps({"keys": [entry("all", **key)]}))
    (directory / "limits.json").write_text(json.dumps(file))
    files = {"api_keys": str(directory / "keys.json"), "limits": str(directory / "limits.json")}
    async with hub_with_jobs(directory, **files) as hub:
        yield hub


@asynccontextmanager
async def podless_hub(directory: Path, hold_s: float) -> AsyncIterator[Hub]:
    """A gateway with jobs whose pods are not there."""
    settings: dict[str, Any] = {"jobs": f"sqlite:{directory / 'jobs.db'}", "hold_s": hold_s}
    nowhere = f"127.0.0.1:{free_port()}"
    async with running_gateway((nowhere,), **settings) as gateway, aiohttp.ClientSession() as client:
        yield Hub(gateway, [], client)


async def test_a_limit_of_rows_counts_a_batch_as_one_call(tmp_path: Path) -> None:
    """It may have more than there are at once, which those after it wait for; and one that is refused has none."""
    async with limited_hub(tmp_path, {}, rows=SLOWLY, rows_burst=5) as hub:
        lines = [adds(number) for number in range(20)]
        assert len(await results(hub, await accepted(hub, lines, **bearer("all")), **bearer("all"))) == 20
        status, said, headers = await uploaded(hub, jsonl(lines), **bearer("all"))
        assert (status, "rows a second" in said["error"]) == (429, True)
        assert int(headers["retry-after"]) > 1000
        assert (await ask(hub, "POST", "/v2/models/adds/infer", adds(1)["body"], **bearer("all")))[0] == 429
        assert len((await ask(hub, "GET", "/v2/jobs", **bearer("all")))[1]["jobs"]) == 1


async def test_a_limit_of_a_model_refuses_all_of_the_file(tmp_path: Path) -> None:
    limits = {"models": [{"model": "adds", "rows": SLOWLY, "rows_burst": 5}]}
    async with limited_hub(tmp_path, limits) as hub:
        quick = [line("/v2/models/quick/infer", INFER)] * 3
        for lines, status in (([adds(1)] * 6, 202), ([*quick, adds(1)], 429), (quick, 202)):
            found = await uploaded(hub, jsonl(lines), **bearer("all"))
            assert found[0] == status, found
        assert len((await ask(hub, "GET", "/v2/jobs", **bearer("all")))[1]["jobs"]) == 2


async def test_a_model_that_is_not_served_refuses_all_of_the_file(tmp_path: Path) -> None:
    async with podless_hub(tmp_path, 0.1) as hub:
        status, said, headers = await uploaded(hub, jsonl([adds(1), line("/nowhere", {})]))
        assert (status, headers["retry-after"] >= "1") == (503, True), said
        assert (await ask(hub, "GET", "/v2/jobs"))[1]["jobs"] == []


async def test_nothing_is_left_of_a_file_whose_sender_leaves(tmp_path: Path) -> None:
    """Its last item waits for a model that nobody has."""
    async with podless_hub(tmp_path, 60.0) as hub:
        jobs = hub.gateway.jobs
        assert jobs is not None
        store = jobs.jobs.store
        count = "SELECT count(*) FROM "

        async def kept(table: str) -> int:
            found: int = await store._database.do(lambda db: db.execute(count + table).fetchone()[0])  # type: ignore[attr-defined]
            return found

        async def until(table: str, expected: int) -> None:
            async with asyncio.timeout(20):
                while await kept(table) != expected:  # noqa: ASYNC110  the store tells nobody
                    await asyncio.sleep(0.02)

        sending = asyncio.create_task(uploaded(hub, jsonl([*[line("/nowhere", {})] * 250, adds(1)])))
        await until("items", 200)
        assert not running(hub)
        sending.cancel()
        await until("items", 0)
        await until("batches", 0)
        assert await kept("jobs") == 0
        assert hub.gateway.bytes_held.held == 0


def memory(process: Process, field: str) -> float:
    """A figure of a process's memory, in MB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.partition(f"{field}:")[2].split()[0]) / 1024


@asynccontextmanager
async def pod(directory: Path, pause_s: float = 0.0) -> AsyncIterator[tuple[Process, dict[str, str]]]:
    """A pod that adds one, and the settings of a gateway."""
    code = ADDS.replace("        if inputs", f"        time.sleep({pause_s})\n        if inputs")
    write_model(directory / "models", "adds", MODEL, {"1/model.py": f"import time\n{code}"})
    mock_model(directory / "models", "quick")
    async with Process("inference", HUB_MODELS=str(directory / "models")) as one:
        yield one, {"GRPC_SERVER_URL": one.address, "HUB_JOBS": f"sqlite:{directory / 'jobs.db'}"}


def rows_of(file: Path) -> dict[str, int]:
    """How many rows the tables of a store have that no gateway has open."""
    db = sqlite3.connect(file)
    try:
        tables = ("jobs", "requests", "results", "items", "batches")
        return {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    finally:
        db.close()


@pytest.mark.long
async def test_a_gateway_that_is_killed_while_a_file_comes(tmp_path: Path) -> None:
    lines = jsonl([adds(number) for number in range(30_000)])
    wal = tmp_path / "jobs.db-wal"
    async with pod(tmp_path) as (_, settings), aiohttp.ClientSession() as client:
        async with Process("gateway", **settings) as gateway:
            async with client.post(f"{gateway.url}/v2/models/adds/infer", json=adds(1)["body"]) as answer:
                assert answer.status == 200
            before = wal.stat().st_size
            sending = asyncio.create_task(client.post(f"{gateway.url}/v2/jobs", data=lines))
            await eventually(lambda: wal.stat().st_size > before + 2**20)
            gateway.send(signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await sending
        assert rows_of(tmp_path / "jobs.db")["items"] > 0, "it was killed in the middle"
        async with Process("gateway", **settings) as gateway:
            async with client.get(f"{gateway.url}/v2/jobs") as answer:
                assert (await answer.json())["jobs"] == []
            await asyncio.sleep(3.0)  # a sweep, and what might run
        assert set(rows_of(tmp_path / "jobs.db").values()) == {0}


@pytest.mark.long
async def test_a_gateway_that_is_killed_while_a_batch_runs(tmp_path: Path) -> None:
    lines = jsonl([adds(number) for number in range(200)])
    async with pod(tmp_path, 0.02) as (_, settings), aiohttp.ClientSession() as client:
        async with Process("gateway", **settings) as gateway:
            async with client.post(f"{gateway.url}/v2/jobs", data=lines) as answer:
                path = answer.headers["location"]
            done = 0
            async with asyncio.timeout(60):
                while done < 20:
                    async with client.get(f"{gateway.url}{path}") as answer:
                        done = (await answer.json())["items"]["succeeded"]
            assert done < 200
            gateway.send(signal.SIGKILL)
        async with Process("gateway", **settings) as gateway:
            status, text = 202, ""
            async with asyncio.timeout(120):
                while status == 202:
                    async with client.get(f"{gateway.url}{path}/result?wait=20") as answer:
                        status, text = answer.status, await answer.text()
            found = [json.loads(one) for one in text.splitlines()]
            assert [one["response"]["body"]["outputs"][0]["data"] for one in found] == [
                [number + 1] for number in range(200)
            ]
            async with client.get(f"{gateway.url}{path}") as answer:
                record = await answer.json()
            assert (record["state"], record["items"]["succeeded"]) == ("succeeded", 200)


@pytest.mark.long
async def test_a_large_batch_takes_little_memory(tmp_path: Path) -> None:
    """10,000 items of 1 kB, and as many answers."""
    wide = [{**INFER, "id": f"{number:01000}"} for number in range(10_000)]
    lines = jsonl([line("/v2/models/quick/infer", one) for one in wide])
    async with (
        pod(tmp_path) as (_, settings),
        aiohttp.ClientSession() as client,
        Process("gateway", **settings) as gateway,
    ):
        async with client.post(f"{gateway.url}/v2/models/quick/infer", json=INFER) as answer:
            assert answer.status == 200
        before = memory(gateway, "VmRSS")
        async with client.post(f"{gateway.url}/v2/jobs", data=lines) as answer:
            assert answer.status == 202
            path = answer.headers["location"]
        status, ids = 202, []
        async with asyncio.timeout(300):
            while status == 202:
                async with client.get(f"{gateway.url}{path}/result?wait=60") as answer:
                    status = answer.status
                    async for text in answer.content:
                        if status == 200:
                            ids.append(json.loads(text)["response"]["body"]["id"])
        assert ids == [one["id"] for one in wide]
        assert memory(gateway, "VmHWM") - before < 3 * len(lines) / 2**20 + 20
