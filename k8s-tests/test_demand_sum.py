"""The sum over gateways is right: with one, two and three, while they are replaced, with one frozen, and after the
scaler was killed. The load is the same all the time: 16 requests a second of 500 ms, on pods of four slots."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from cluster import Release, eventually, release, send_signal
from demand import demand, readings, values
from open_loop import OpenLoop, open_loop

pytestmark = pytest.mark.long

RATE, PODS = 16.0, 2.0
WINDOW_S = 16.0


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    with release(values(minReplicas=4, maxReplicas=4), "hub-sum") as hub:
        eventually(lambda: demand(hub) is not None, "the demand is served", 30)
        eventually(lambda: len(hub.ready("inference")) == 4, "four pods", 60)
        yield hub


@asynccontextmanager
async def load_on(hub: Release, gateways: int) -> AsyncIterator[OpenLoop]:
    """The load, on so many gateways, for long enough that the window has seen nothing else."""
    await asyncio.to_thread(hub.kubectl, "scale", f"deployment/{hub.gateway}", f"--replicas={gateways}")
    await asyncio.to_thread(eventually, lambda: len(hub.ready("gateway")) == gateways, "gateways", 60)
    await asyncio.sleep(2)
    async with open_loop(hub.url(), deadline_s=10, fresh=True) as load:
        load.rate = RATE
        await asyncio.sleep(WINDOW_S + 4)
        yield load
        load.rate = 0.0


def said(found: list[float | None]) -> str:
    known = [value for value in found if value is not None]
    return f"{min(known):.2f} to {max(known):.2f} pods, {PODS:.2f} expected, {found.count(None)} of {len(found)} without an answer"


def near(found: list[float | None], tolerance: float) -> bool:
    return all(value is None or abs(value - PODS) <= tolerance * PODS for value in found)


@pytest.mark.parametrize("gateways", [1, 2, 3])
async def test_it_is_the_same_with_any_number_of_gateways(hub: Release, gateways: int, figure: Any) -> None:
    async with load_on(hub, gateways) as load:
        found = await readings(hub, 15)
    figure(said(found))
    assert None not in found
    assert near(found, 0.15)
    assert not load.failed


async def test_it_is_the_same_while_gateways_are_replaced(hub: Release, figure: Any) -> None:
    async with load_on(hub, 2) as load:
        seen = asyncio.create_task(readings(hub, 50))
        await asyncio.to_thread(hub.restart, hub.gateway)
        found = await seen
    figure(f"{said(found)}; {load.sent} sent, {len(load.failed)} failed")
    assert None not in found
    assert near(found, 0.2)
    assert not load.failed


async def test_it_is_the_same_with_a_frozen_gateway(hub: Release, figure: Any) -> None:
    async with load_on(hub, 2) as load:
        victim = hub.ready("gateway")[0]
        seen = asyncio.create_task(readings(hub, 40))
        await asyncio.sleep(2)
        await asyncio.to_thread(send_signal, victim, "gateway", signal.SIGSTOP)
        # Liveness restarts it after 30 s.
        found = await seen
    figure(f"{said(found)}; {load.sent} sent, {len(load.failed)} failed: those that the frozen one had")
    assert None not in found
    assert near(found, 0.3)
    eventually(lambda: len(hub.ready("gateway")) == 2, "both gateways are back", 90)


async def test_it_is_back_after_the_scaler_was_killed(hub: Release, figure: Any) -> None:
    async with load_on(hub, 2) as load:
        seen = asyncio.create_task(readings(hub, 30))
        await asyncio.sleep(2)
        began = monotonic()
        await asyncio.to_thread(send_signal, hub.ready("scaler")[0], "scaler")
        killed = monotonic() - began
        found = await seen
    without = found.count(None)
    figure(f"{said(found)} (told after {killed:.0f} s)")
    assert 0 < without <= 20
    assert None not in found[-5:]
    assert near(found, 0.25)
    assert not load.failed


async def test_with_two_scalers_one_may_die(hub: Release, figure: Any) -> None:
    await asyncio.to_thread(hub.deploy, {**hub.values, "scaler": {"replicas": 2}})
    await asyncio.to_thread(eventually, lambda: len(hub.ready("scaler")) == 2, "two scalers", 60)
    async with load_on(hub, 2) as load:
        seen = asyncio.create_task(readings(hub, 20))
        await asyncio.sleep(2)
        await asyncio.to_thread(hub.kubectl, "delete", "pod", hub.ready("scaler")[0].name, "--wait=false")
        found = await seen
    figure(said(found))
    assert found.count(None) <= 1
    assert near(found, 0.2)
    assert not load.failed
