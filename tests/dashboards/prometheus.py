"""A real Prometheus that scrapes processes of a hub, with the labels that a monitor of the chart would bring."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from tests.hub import eventually
from tests.ports import free_port
from tests.programs import PROMETHEUS, on_path

Samples = list[tuple[dict[str, str], float]]
START_S = 60.0


class Target(NamedTuple):
    """A process to scrape."""

    component: str
    pod: str
    port: int
    pool: str = ""

    def json(self) -> dict[str, Any]:
        """As Prometheus has it in its configuration."""
        labels = {
            "namespace": "ml",
            "app_kubernetes_io_instance": "hub",
            "app_kubernetes_io_component": self.component,
            "pod": self.pod,
        }
        if self.pool:
            labels["inferencehub_pool"] = self.pool
        return {"targets": [f"127.0.0.1:{self.port}"], "labels": labels}


class Prometheus:
    """A client of its API."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self._url, self._client = url, client

    async def ready(self) -> bool:
        """Whether it answers."""
        try:
            async with self._client.get(f"{self._url}/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def ask(self, expr: str) -> Samples:
        """The samples of an expression now. Fails where Prometheus refuses it."""
        async with self._client.post(f"{self._url}/api/v1/query", data={"query": expr}) as answer:
            found = await answer.json()
        assert found["status"] == "success", f"{expr}: {found.get('error')}"
        return [(one["metric"], float(one["value"][1])) for one in found["data"]["result"]]

    async def scraped(self, times: int = 2) -> None:
        """Wait until all targets have been scraped so many times more, and rules computed after that."""
        for _ in range(times):
            (found,) = await self.ask("min(timestamp(up))")
            while (await self.ask("min(timestamp(up))"))[0][1] <= found[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await asyncio.sleep(2 * INTERVAL_S)


INTERVAL_S = 1


@asynccontextmanager
async def running_prometheus(
    folder: Path, targets: Sequence[Target], groups: Sequence[Mapping[str, Any]]
) -> AsyncIterator[Prometheus]:
    """A Prometheus of its own, which scrapes each second and computes these groups of rules as often."""
    program, port = on_path(PROMETHEUS), free_port()
    quick = [{**group, "interval": f"{INTERVAL_S}s"} for group in groups]
    (folder / "rules.json").write_text(json.dumps({"groups": quick}))
    config = {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "rule_files": ["rules.json"],
        "scrape_configs": [{"job_name": "hub", "static_configs": [target.json() for target in targets]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as client:
            found = Prometheus(f"http://127.0.0.1:{port}", client)
            async with asyncio.timeout(START_S):
                while not await found.ready():
                    assert process.returncode is None, (folder / "prometheus.log").read_text()
                    await asyncio.sleep(0.1)
                while {value for _, value in await found.ask("up")} != {1.0}:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            yield found
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        await eventually(lambda: process.returncode is not None)
