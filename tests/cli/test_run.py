"""`inferencehub run` as a process: the curl line that it prints works, and a signal ends both tiers."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.hub import MODELS, ROOT

READY_S = 60


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@asynccontextmanager
async def running(models: Path = MODELS) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[int]]]:
    """`python -m inferencehub run` with ports of its own, ended where it still runs."""
    gateway, gateway_ops, pod, pod_ops = ports = free_ports(4)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environ |= {"PYTHONPATH": str(ROOT / "services"), "HUB_MODELS": str(models), "HUB_STREAM_PORT": "0"}
    environ |= {"PORT": str(gateway), "HUB_OPS_PORT": str(gateway_ops)}
    options = ("run", "--inference-port", str(pod), "--inference-ops-port", str(pod_ops))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inferencehub", *options, env=environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process, ports
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def read_until(stream: asyncio.StreamReader | None, pattern: str) -> re.Match[str]:
    """The first line of a stream that a pattern matches."""
    assert stream is not None
    seen = ""
    while line := (await stream.readline()).decode():
        seen += line
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"the stream ended before {pattern!r}:\n{seen}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_printed_curl_line_works_and_a_signal_ends_both(number: signal.Signals) -> None:
    async with running() as (process, ports), asyncio.timeout(READY_S):
        match = await read_until(process.stderr, r"^  (curl .*)$")
        curl, silent, url, data, body = shlex.split(match[1])
        assert (curl, silent, data) == ("curl", "-s", "-d")
        async with aiohttp.ClientSession() as client, client.post(url, data=body) as answer:
            assert answer.status == 200
            assert (await answer.json(content_type=None))["error"] == ""
        process.send_signal(number)
        assert process.stderr is not None
        await process.stderr.read()  # both tiers hold this pipe: it ends when they have ended
        assert await process.wait() == 0
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


async def test_it_ends_where_a_tier_does_not_start(tmp_path: Path) -> None:
    """The other tier is ended too, and the exit code says that something went wrong."""
    async with running(tmp_path / "missing") as (process, _), asyncio.timeout(READY_S):
        await read_until(process.stderr, str(tmp_path / "missing"))
        assert process.stderr is not None
        await process.stderr.read()
        assert await process.wait() == 1
