"""Limits: how many connections may be open, and how many requests of one begin before others have their turn."""

from __future__ import annotations

import asyncio
import logging
import resource
import subprocess
import sys

import pytest

from inferencehub.core.http1.limits import FEW, MANY, allowed_connections
from tests.core.http1.server import Echo, on_both_loops, serving
from tests.gateway.raw import Raw, request

ALLOWED = """
import logging, resource
logging.basicConfig(format="%(message)s %(files)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
from inferencehub.core.http1.limits import allowed_connections
print(allowed_connections())
"""


@pytest.mark.parametrize(("files", "allowed"), [(100, 50), (1024, 768), (8000, 7744)])
def test_connections_by_the_limit_of_open_files(files: int, allowed: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < files:
        pytest.skip(f"the hard limit of this process is below {files}")
    done = subprocess.run(
        [sys.executable, "-c", ALLOWED.replace("FILES", str(files))],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert int(done.stdout) == allowed
    warned = f"the limit of open files allows few connections {files}"
    assert (warned in done.stderr) is (allowed < FEW)


def test_there_is_an_end_to_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert 0 < allowed_connections() <= MANY


async def _too_many() -> None:
    async with serving(Echo(), max_connections=2) as server, Raw(server.port) as one, Raw(server.port) as two:
        for raw in (one, two):
            assert (await raw.ask("GET", "/")).status == 200
        async with Raw(server.port) as three:
            assert await three.closed() == b""
        for raw in (one, two):
            assert (await raw.ask("GET", "/")).status == 200


async def _others_have_their_turn() -> None:
    handler = Echo()
    async with serving(handler, max_turn=4) as server, Raw(server.port) as many, Raw(server.port) as one:
        assert (await one.ask("GET", "/")).status == 200
        await many.send(request("GET", "/many") * 1500)  # one read
        await one.send(request("GET", "/one"))
        assert (await one.read()).json["target"] == "/one"
        assert handler.begun < 1000, "one of many had to wait for all of the other caller's"
        for _ in range(1500):
            assert (await many.read()).json["target"] == "/many"


async def _many_small_ones_are_bounded() -> None:
    handler = Echo()
    async with serving(handler, max_turn=1) as server, Raw(server.port) as raw:
        whole = request("GET", "/") * 5_000

        async def read() -> None:
            for _ in range(5_000):
                assert (await raw.read()).status == 200

        reading = asyncio.ensure_future(read())
        await raw.send(whole)
        await reading


test_connections_beyond_the_limit_are_closed_at_once = on_both_loops(_too_many)
test_a_caller_that_sends_many_at_once_lets_others_have_their_turn = on_both_loops(_others_have_their_turn)
test_many_small_requests_at_once_are_all_answered = on_both_loops(_many_small_ones_are_bounded)
