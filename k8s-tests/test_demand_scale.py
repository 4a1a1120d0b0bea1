"""The promise: a model that only waits is scaled up within seconds and down again, and no request fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from cluster import Release, eventually, release
from demand import demand, replicas, values
from open_loop import open_loop

RATE = 24.0  # a pod answers 8 a second
TOP_S = 150.0
DOWN_S = 60  # the window of its way down, in the values


@pytest.fixture
def hub() -> Iterator[Release]:
    with release(values(minReplicas=1, maxReplicas=8), "hub-scale") as hub:
        eventually(lambda: demand(hub) == 0.0, "the demand is served", 30)
        eventually(lambda: replicas(hub) == (1, 1), "one pod", 60)
        yield hub


@pytest.mark.long
async def test_pods_follow_demand_up_and_down(hub: Release, figure: Any) -> None:
    asked_at = calm_at = None
    most = 0
    async with open_loop(hub.url()) as load:
        load.rate = RATE
        began = monotonic()
        while (at := monotonic() - began) < TOP_S:
            asked, ready = await asyncio.to_thread(replicas, hub)
            most = max(most, ready)
            if asked > 1 and asked_at is None:
                asked_at = at
            wait = load.queue_p95_s(monotonic() - 3.0)
            if wait is None or wait >= 1.0:  # no answer at all is no calm
                calm_at = None
            elif asked_at is not None and calm_at is None:
                calm_at = at
            await asyncio.sleep(0.5)
        load.rate = 0.0
        back = await asyncio.to_thread(eventually, lambda: replicas(hub) == (1, 1), "one pod again", 240)
    figure(
        f"more pods asked for after {asked_at or -1:.0f} s, p95 of the queue wait under 1 s for good after "
        f"{calm_at or -1:.0f} s, {most} pods at most, back to 1 after {back:.0f} s; "
        f"{load.sent} sent, {len(load.failed)} failed"
    )
    assert asked_at is not None
    assert asked_at <= 30
    assert calm_at is not None
    assert calm_at <= 90
    # Its window, the mean that has to fall first, three periods of the autoscaler, and a drain.
    assert back <= DOWN_S + 15 + 45 + 30
    assert load.failed == []
