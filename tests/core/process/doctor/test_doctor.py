"""The doctor: its checks run side by side and once at a time, each within its time, and nothing of it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inferencehub import __version__
from inferencehub.core.process.doctor.doctor import Check, Doctor
from inferencehub.core.process.doctor.finding import Finding, Level, as_text, fault, ok, report_of, warning
from inferencehub.core.process.ops_port import OpsServer
from inferencehub.core.process.scrape.written import Registry
from tests.gateway.raw import Raw


class Counting:
    """A check that counts how often it runs, and ends when it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = asyncio.Event()

    async def look(self) -> list[Finding]:
        self.runs += 1
        await self.go.wait()
        return [ok("door", "it is open")]


@asynccontextmanager
async def ops(doctor: Doctor) -> AsyncIterator[OpsServer]:
    server = OpsServer(0, Registry(), lambda: "", {"/doctor": doctor.page})
    await server.start()
    yield server
    await doctor.stop()
    await server.stop(1)
    server.cut_off()


async def test_all_who_ask_share_one_run_and_who_leaves_ends_nothing() -> None:
    check = Counting()
    doctor = Doctor("gateway", {"door": check.look})
    asking = [asyncio.ensure_future(doctor.report()) for _ in range(5)]
    while not check.runs:  # noqa: ASYNC110  it tells nobody
        await asyncio.sleep(0)
    asking.pop().cancel()
    check.go.set()
    assert [(await one).verdict for one in asking] == [Level.OK] * 4
    assert (await doctor.report()).findings == [ok("door", "it is open")]
    assert check.runs == 1
    again = Doctor("gateway", {"door": check.look}, kept_s=0.0)
    await again.report()
    await again.report()
    assert check.runs == 3


async def test_a_check_that_hangs_or_fails_is_a_finding_and_holds_up_no_other() -> None:
    async def broken() -> list[Finding]:
        raise RuntimeError("secret")

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def works() -> list[Finding]:
        return [ok("window", "it is shut")]

    checks: dict[str, Check] = {"door": broken, "roof": hangs, "window": works}
    report = await Doctor("gateway", checks, check_s=0.1).report()
    assert [(one.level, one.what) for one in report.findings] == [
        (Level.WARNING, "door"),
        (Level.WARNING, "roof"),
        (Level.OK, "window"),
    ]
    assert "secret" not in as_text(report)


async def test_the_page_is_sentences_for_people_and_json_where_it_is_asked_for() -> None:
    async def look() -> list[Finding]:
        return [
            ok("roof", "it is there"),
            fault("door", "it is\nshut", "Open it."),
            warning("lamp", "it is dim", "Wait."),
        ]

    async with ops(Doctor("gateway", {"house": look})) as server, Raw(server.port) as raw:
        answer = await raw.ask("GET", "/doctor")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        first, *lines = answer.body.decode().splitlines()
        assert first.startswith(f"gateway {__version__} at ")
        assert first.endswith(": 1 fault, 1 warning, 1 fine")
        assert lines == [
            "FAULT    door: it is shut",
            "         Fix: Open it.",
            "WARNING  lamp: it is dim",
            "         Fix: Wait.",
            "OK       roof: it is there",
        ]
        answer = await raw.ask("GET", "/doctor", None, "accept: application/json")
        found = json.loads(answer.body)
        assert (answer.status, found["verdict"], found["findings"][0]["what"]) == (200, "fault", "door")


async def test_a_process_ends_while_its_doctor_looks() -> None:
    check = Counting()
    doctor = Doctor("gateway", {"door": check.look}, check_s=60.0)
    async with ops(doctor) as server, Raw(server.port) as raw:
        asked = asyncio.ensure_future(raw.ask("GET", "/doctor"))
        while not check.runs:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.001)
        async with Raw(server.port) as probe:
            assert (await probe.ask("GET", "/healthz")).status == 200
        async with asyncio.timeout(30):
            await server.stop(0)
        assert not [task for task in asyncio.all_tasks() if "_send_later" in repr(task)]
        asked.cancel()


def test_sentences_are_bounded_and_on_one_line() -> None:
    found = fault("model", "x\n" * 10_000, "Repair it.")
    assert len(found.seen) == 600
    assert "\n" not in found.seen
    assert report_of("gateway", "1", 0.0, []).verdict is Level.OK
