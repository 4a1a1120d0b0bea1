"""What a gateway has recorded: the lines of its files, and what its metric counts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from time import monotonic

from inferencehub.core.http1.recording.line import RecordedCall, read_call
from tests.hub import Hub

BODY = {"model_name": "quick", "features": [1, 2, 3]}


def lines_in(folder: Path) -> list[bytes]:
    """All lines, in the order of the files."""
    return [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


def calls_in(folder: Path) -> list[RecordedCall]:
    return [read_call(line) for line in lines_in(folder)]


async def counted(hub: Hub) -> dict[str, float]:
    """How many calls had which outcome."""
    found = re.findall(
        r'^inferencehub_gateway_recorded_calls_total\{outcome="(\w+)"\} (\S+)$', await hub.metrics(), re.M
    )
    return {outcome: float(calls) for outcome, calls in found if float(calls)}


async def becomes(hub: Hub, wanted: dict[str, float]) -> None:
    """Wait until the calls that were chosen have these outcomes."""
    began = monotonic()
    while (found := await counted(hub)) != wanted:
        assert monotonic() - began < 30, f"{found}, not {wanted}"
        assert sum(found.values()) <= sum(wanted.values()), f"{found}, not {wanted}"
        await asyncio.sleep(0.02)


async def reaches(hub: Hub, least: int, *outcomes: str) -> None:
    """Wait until so many calls have one of these outcomes."""
    began = monotonic()
    while True:
        found = await counted(hub)
        if sum(found.get(outcome, 0) for outcome in outcomes) >= least:
            return
        assert monotonic() - began < 30, found
        await asyncio.sleep(0.02)
