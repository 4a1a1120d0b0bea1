"""`refetch`: a fetch that failed ends once, then gateways have the sentence until the models are there."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from starlette.requests import Request
from starlette.responses import Response

from inferencehub.gateway.server import Gateway
from tests.hub import running_gateway
from tests.inference.fetch.fetching import MODEL, files_of, sha256, tar
from tests.inference.fetch.model_server import running_server
from tests.inference.runtimes.python.acting_model import children, until
from tests.ports import free_port

RIGHT = tar(MODEL)


@asynccontextmanager
async def refetch(place: Path, uri: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """What the chart's init container runs; it has ended afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inferencehub.inference", "refetch", place / "tmp", uri),
        *(f"--into={place / 'models/a'}", f"--message={place / 'termination-log'}"),
        env={
            **os.environ,
            "PORT": str(port),
            "HUB_STREAM_PORT": "0",
            "HUB_OPS_PORT": "0",
            "HUB_MODELS": "gone",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> int | None:
    async with asyncio.timeout(60):
        await process.communicate()
    return process.returncode


async def shown(gateway: Gateway) -> list[dict[str, str]]:
    """GET /v2/models, once there is something in it."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(30):
        while True:
            async with client.get(f"http://127.0.0.1:{gateway.port}/v2/models") as answer:
                models: list[dict[str, str]] = (await answer.json())["models"]
            if models:
                return models
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_gateways_have_the_reason_until_the_models_are_there(tmp_path: Path) -> None:
    served, port = tmp_path / "served", free_port()
    served.mkdir()
    (served / "models.tgz").write_bytes(b"wrong")
    async with running_server(served) as server, running_gateway((f"127.0.0.1:{port}",)) as gateway:
        uri = f"{server.url}/models.tgz#sha256={sha256(RIGHT)}"
        sentence = (
            f"The models cannot be fetched: {server.url}/models.tgz has the sha256 {sha256(b'wrong')}, "
            f"expected {sha256(RIGHT)}."
        )
        async with refetch(tmp_path, uri, port) as first:
            assert await ended(first) == 1
        assert (tmp_path / "termination-log").read_text() == sentence
        async with refetch(tmp_path, uri, port) as second:
            (model,) = await shown(gateway)
            assert (model["name"], model["state"], model["reason"]) == ("models.tgz", "UNAVAILABLE", sentence)
            (served / "models.tgz").write_bytes(RIGHT)
            assert await ended(second) == 0
    assert files_of(tmp_path / "models/a") == MODEL


async def test_it_ends_with_the_pod_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "tmp").write_text("The models cannot be fetched: it was so.")
    asked, port = asyncio.Event(), free_port()

    async def never(request: Request) -> Response:
        asked.set()
        await asyncio.sleep(60)
        return Response()

    async with running_server(tmp_path) as server, running_gateway((f"127.0.0.1:{port}",)) as gateway:
        server.next_answers.append(never)
        async with refetch(tmp_path, f"{server.url}/x.tgz#sha256={'0' * 64}&model=mine", port) as process:
            (model,) = await shown(gateway)
            assert (model["name"], model["reason"]) == ("mine", "The models cannot be fetched: it was so.")
            await asked.wait()
            (fetching,) = children(process.pid)
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 143
            await until(lambda: not Path(f"/proc/{fetching}").exists())
    assert not list((tmp_path / "models").iterdir())


async def test_models_that_are_there_meanwhile_end_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "tmp").write_text("The models cannot be fetched: it was so.")
    (tmp_path / "x.tgz").write_bytes(RIGHT)
    sha = sha256(RIGHT)
    async with (
        running_server(tmp_path) as server,
        refetch(tmp_path, f"{server.url}/x.tgz#sha256={sha}", free_port()) as process,
    ):
        assert await ended(process) == 0
    assert files_of(tmp_path / "models/a") == MODEL
