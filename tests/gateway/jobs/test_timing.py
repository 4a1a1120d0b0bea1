"""What a result tells of its job's times, and the id that joins a job's lines in the access log."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.process.logs import AccessLog
from inferencehub.gateway.http_api.jobs.timing import timed
from inferencehub.gateway.jobs.record import JobRecord, State
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.gateway.jobs.test_jobs import BELOW, INFER, ask, ended, hub_with_jobs, submitted
from tests.hub import Hub, eventually, mock_model, running_pod

NAMES = ["queue", "run", "lane", "batch", "network", "compute"]
ENDED = JobRecord(
    *("1", "m", "", State.SUCCEEDED, 4, 1), created=10.0, not_before=12.0, started=12.5, ended=13.25, expires=None,
    status=200, error="",
)  # fmt: skip


def shown(lines: list[str]) -> dict[str, float]:
    """The times of lines of Server-Timing, none of them twice."""
    found = re.findall(r"([a-z]+);dur=([\d.]+)", ", ".join(lines))
    times = {name: float(value) for name, value in found}
    assert len(times) == len(found)
    return times


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (b"", b"server-timing: queue;dur=500.000, run;dur=750.000\r\n"),
        (b"a: b\r\n", b"a: b\r\nserver-timing: queue;dur=500.000, run;dur=750.000\r\n"),
        (
            b"server-timing: queue;dur=1.000, batch;dur=2.000, total;dur=3.000\r\na: b\r\n",
            b"server-timing: queue;dur=500.000, run;dur=750.000, lane;dur=1.000, batch;dur=2.000\r\na: b\r\n",
        ),
        (
            b"server-timing: total;dur=3.000\r\n",
            b"server-timing: queue;dur=500.000, run;dur=750.000\r\n",
        ),
    ],
)
def test_times_of_a_job_come_before_those_of_its_run(kept: bytes, told: bytes) -> None:
    assert timed(kept, ENDED) == told


async def test_a_result_tells_how_long_its_job_waited_and_ran(tmp_path: Path) -> None:
    async with hub_with_jobs(tmp_path) as hub:
        slow = {"count": 3, "pause_s": 0.2}
        first, second = [
            await submitted(hub, "/v2/models/counter/generate_stream", slow) for _ in range(2)
        ]  # the second waits for the first
        bad = await submitted(hub, "/v2/models/adds/infer", BELOW)
        for job in (first, second, bad):
            record = await ended(hub, job)
            async with hub.client.get(f"{hub.url}{job}/result") as answer:
                await answer.read()
                times = shown(answer.headers.getall("server-timing"))
            created, started, over = [
                datetime.fromisoformat(record[name]) for name in ("created", "started", "ended")
            ]
            assert list(times) == [*NAMES, "total"]
            assert times["queue"] == pytest.approx((started - created).total_seconds() * 1e3, abs=2)
            assert times["run"] == pytest.approx((over - started).total_seconds() * 1e3, abs=2)
        waits = {"prefer": "respond-async, wait=20"}
        _, _, headers = await ask(hub, "POST", "/v2/models/quick/infer", INFER, **waits)
        assert list(shown(headers.getall("server-timing"))) == [*NAMES, "total"]


async def test_one_id_joins_a_request_and_the_runs_of_its_job(tmp_path: Path) -> None:
    mock_model(tmp_path / "models", "quick")
    stream = io.BytesIO()
    async with running_pod(tmp_path / "models") as pod, aiohttp.ClientSession() as client:
        settings: dict[str, Any] = {"port": 0, "grpc_port": 0, "ops_port": 0, "drain_wait_s": 0.0}
        store = f"sqlite:{tmp_path / 'jobs.db'}"
        chosen = GatewaySettings(backends=(f"127.0.0.1:{pod.port}",), jobs=store, **settings)
        gateway = Gateway(chosen, AccessLog("gateway", "json", stream))
        await gateway.start()
        try:
            hub = Hub(gateway, [pod], client)
            await eventually(lambda: gateway.fleet.ready)
            jobs = {
                id: await submitted(hub, "/v2/models/quick/infer", INFER, x_request_id=id)
                for id in ("one", "two")
            }
            for job in jobs.values():
                assert (await ended(hub, job))["state"] == "succeeded"
        finally:
            await gateway.stop()
        assert gateway.access is not None
        gateway.access.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    for id in jobs:
        found = [(line["front"], line["path"], line["status"]) for line in lines if line["id"] == id]
        assert sorted(found) == [
            ("http", "/v2/models/quick/infer", 202),
            ("job", "/v2/models/quick/infer", 200),
        ]
