"""Standard streams that are not read, full, or closed: only log lines are lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NamedTuple

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.process.line_writer import LineWriter
from inferencehub.core.process.logs import AccessLog
from tests.hub import ROOT, eventually, mock_model
from tests.inference.pod_processes import features, infer_of
from tests.pipe import pipe
from tests.ports import free_port

pytestmark = pytest.mark.long


class Tier(NamedTuple):
    """A tier that runs as a process."""

    process: Popen[bytes]
    port: int
    ops_port: int


WRITES_MUCH = """
import logging
from inferencehub.core.process.logs import set_up_logs

set_up_logs("gateway", "json", "info")
for number in range(20_000):
    logging.getLogger("test").info("line %d", number, extra={"more": 1000 * "x"})
print("done", flush=True)
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with a quick model."""
    mock_model(tmp_path, "quick")
    return tmp_path


@contextmanager
def process(*command: str, **environ: str) -> Iterator[Popen[bytes]]:
    """A process whose streams are pipes that nobody reads."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "services"), **environ}
    with Popen(command, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


@asynccontextmanager
async def tier(name: str, redirects: str = "", **environ: str) -> AsyncIterator[Tier]:
    """A tier as a process, started by a shell with `redirects`; SIGTERM ends it after the block, with code 0."""
    port, ops_port = free_port(), free_port()
    ports = {"PORT": str(port), "HUB_OPS_PORT": str(ops_port), "HUB_DRAIN_WAIT_S": "0"}
    if name == "gateway":
        ports["HUB_GRPC_PORT"] = "0"
    command = f"exec {sys.executable} -m inferencehub.{name} {redirects}"
    with process("sh", "-c", command, **{"HUB_LOG_LEVEL": "debug", **ports, **environ}) as running:
        await listening(ops_port, running)
        yield Tier(running, port, ops_port)
        running.send_signal(signal.SIGTERM)
        await eventually(lambda: running.poll() is not None, 20)
        assert running.returncode == 0


async def listening(ops_port: int, running: Popen[bytes]) -> None:
    """Wait until a process says that it is ready."""
    async with aiohttp.ClientSession() as client:
        for _ in range(2000):
            assert running.poll() is None, "it has ended"
            with suppress(aiohttp.ClientConnectionError):
                async with client.get(f"http://127.0.0.1:{ops_port}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)
    raise AssertionError("it did not become ready")


async def dropped(ops_port: int, prefix: str) -> float:
    """How many access lines a process says it has dropped."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{ops_port}/metrics") as answer,
    ):
        text = await answer.text()
    [line] = [line for line in text.splitlines() if line.startswith(f"{prefix}_access_lines_dropped_total ")]
    return float(line.split()[1])


async def test_a_gateway_answers_though_nobody_reads_its_lines() -> None:
    long = "x" * 500  # a line has no more of a path
    async with tier("gateway", GRPC_SERVER_URL="127.0.0.1:9") as running:
        timeout = aiohttp.ClientTimeout(sock_read=20)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.port}", timeout=timeout) as client:

            async def ask(count: int) -> None:
                for _ in range(count):
                    async with client.get(f"/{long}") as answer:
                        assert answer.status == 404

            await asyncio.gather(*[ask(1000) for _ in range(8)])
            async with client.get("/readyz") as answer:
                assert answer.status == 200
        await eventually_dropped(running.ops_port, "gateway", True)


async def test_a_pod_answers_though_nobody_reads_its_lines(models: Path) -> None:
    async with tier("inference", HUB_MODELS=str(models)) as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            infer = infer_of(channel)
            request = features("quick", 1.0, id="x" * 128)
            for _ in range(300):
                await asyncio.gather(*[infer(request, timeout=20) for _ in range(4)])
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert await health.Check(health_pb2.HealthCheckRequest(service="probe/live"), timeout=20)
        assert await dropped(running.ops_port, "inferencehub_inference") == 0, (
            "there was room for all of them"
        )


@pytest.mark.parametrize(
    ("name", "redirects"),
    [
        *[("gateway", closed) for closed in ("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-")],
        ("gateway", ">/dev/full 2>/dev/full"),
        ("inference", "<&- >&- 2>&-"),
        ("inference", ">/dev/full 2>/dev/full"),
    ],
)
async def test_a_tier_lives_without_its_standard_streams(name: str, redirects: str, models: Path) -> None:
    more = {"HUB_MODELS": str(models)} if name == "inference" else {"GRPC_SERVER_URL": "127.0.0.1:9"}
    async with tier(name, redirects, **more) as running:
        for number in (0, 1, 2):
            target = os.readlink(f"/proc/{running.process.pid}/fd/{number}")
            assert not target.startswith(("socket", "anon_inode")), "what libraries write would go there"
        if name == "gateway":
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"http://127.0.0.1:{running.port}/healthz") as answer,
            ):
                assert answer.status == 200
            await eventually_dropped(running.ops_port, name, "full" in redirects)


async def eventually_dropped(ops_port: int, name: str, lost: bool) -> None:
    """A closed stream is /dev/null and takes all lines; a full one takes none."""
    for _ in range(500):
        if (await dropped(ops_port, f"inferencehub_{name}") > 0) == lost:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"lines were {'not ' if lost else ''}dropped")


async def test_what_waits_is_written_at_the_end() -> None:
    async with tier("gateway", GRPC_SERVER_URL="127.0.0.1:9") as running:
        url = f"http://127.0.0.1:{running.port}/healthz"
        async with aiohttp.ClientSession() as client:
            for _ in range(150):
                async with client.get(url, headers={"x-request-id": "a"}) as answer:
                    assert answer.status == 200
        assert running.process.stdout is not None
        reading = asyncio.create_task(asyncio.to_thread(running.process.stdout.read))
    lines = [json.loads(line) for line in (await reading).splitlines()]
    assert len([line for line in lines if line["id"] == "a"]) == 150


async def test_a_log_that_nobody_reads_holds_nothing_up() -> None:
    with process(sys.executable, "-c", WRITES_MUCH) as running:
        await eventually(lambda: running.poll() is not None, 20)
        assert (running.stdout or sys.stdin).read() == b"done\n"
        assert 0 < len((running.stderr or sys.stdin).readlines()) < 20_000


async def test_lines_that_do_not_fit_are_dropped_and_counted() -> None:
    with pipe() as (reads, writes):
        log = AccessLog("gateway", "json", writes, most_bytes=200_000)
        for number in range(20_000):
            log.write(number=number)
        log.flush()
        lost = log.writer.dropped
        assert 10_000 < lost < 20_000
        kept = [json.loads(reads.readline())["number"] for _ in range(20_000 - lost)]
        assert kept == sorted(kept)
        assert log.writer.wait(20)
        log.write(number="later")
        log.flush()
        assert json.loads(reads.readline())["number"] == "later", "it goes on as soon as somebody reads"


async def test_a_pipe_whose_reader_has_gone_costs_only_lines() -> None:
    with pipe() as (reads, writes):
        reads.close()
        writer = LineWriter(writes)
        assert writer.put(b"one\ntwo\n")
        assert writer.wait(20)
        assert writer.dropped == 2


async def test_a_pipe_that_others_made_non_blocking_loses_nothing() -> None:
    with pipe() as (reads, writes):
        os.set_blocking(writes.fileno(), False)
        writer = LineWriter(writes)
        for number in range(100):
            assert writer.put(b"%9999d\n" % number)
        assert [int(reads.readline()) for _ in range(100)] == list(range(100))
        assert writer.dropped == 0


async def test_room_again_is_said_with_the_number_of_lost_lines() -> None:
    code = (
        WRITES_MUCH + "input()\nlogging.getLogger().handlers[0].writer.wait(20)\nlogging.warning('later')\n"
    )
    with process(sys.executable, "-c", code) as running:
        done = asyncio.to_thread((running.stdout or sys.stdin).readline)
        assert await asyncio.wait_for(done, 20) == b"done\n"
        _, read = await asyncio.to_thread(running.communicate, b"\n", 30)
    said = [json.loads(line) for line in read.splitlines()]
    # Said once there is room; on a busy machine there may be room, and none again, more than once.
    dropped = [line["lines"] for line in said if line["event"] == "log lines were dropped"]
    assert dropped
    assert sum(dropped) == 20_000 - len([line for line in said if line["event"].startswith("line ")])
    assert "later" in [line["event"] for line in said]
