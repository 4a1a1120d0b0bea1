"""What tests ask of doctors."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
import msgspec

from inferencehub.core.process.doctor.finding import Finding, Level, Report


async def report_at(ops_port: int) -> Report:
    """What the doctor of a process says now."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{ops_port}/doctor", headers={"accept": "application/json"}) as answer,
    ):
        assert answer.status == 200
        return msgspec.json.decode(await answer.read(), type=Report)


def one(findings: Sequence[Finding], what: str, level: Level = Level.FAULT) -> Finding:
    """The one finding of this level about something; each that is not ok says what to do."""
    (found,) = [one for one in findings if one.what == what and one.level is level]
    assert bool(found.fix) is (level is not Level.OK)
    return found


def faults(findings: Sequence[Finding]) -> list[str]:
    """What has faults."""
    return [one.what for one in findings if one.level is Level.FAULT]
