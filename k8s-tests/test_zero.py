"""A pool without pods: the first requests are held, bring a pod, and are answered; after a quiet time it goes again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
from cluster import Release, eventually, release
from demand import demand, replicas, values

QUIET_S = 5
BODY = {"features": [0.5, 1.2, -3.4], "model_name": "v1-mock"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    zero = {"enabled": True, "quietSeconds": QUIET_S, "models": {"v1-mock": {"slots": 4}}}
    with release(values(minReplicas=1, maxReplicas=3, scaleToZero=zero), "hub-zero") as hub:
        yield hub


def asleep(hub: Release) -> bool:
    return replicas(hub) == (0, 0) and not hub.pods("inference")


async def ask(client: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with client.post(f"{url}/predict", json=BODY) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("requests", [1, pytest.param(50, marks=pytest.mark.long)])
async def test_requests_wake_it_and_none_is_lost(hub: Release, requests: int, figure: Any) -> None:
    slept = await asyncio.to_thread(eventually, lambda: asleep(hub), "no pod", 120)
    url = hub.url()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        async with client.get(f"{url}/v2/health/ready") as answer:
            assert answer.status == 200
        began = monotonic()
        answers = asyncio.create_task(asyncio.wait_for(gathered(client, url, requests), 90))
        asked = await asyncio.to_thread(
            eventually, lambda: replicas(hub)[0] > 0, "a pod is asked for", 30, 0.1
        )
        ready = asked + await asyncio.to_thread(
            eventually, lambda: replicas(hub)[1] > 0, "it is ready", 60, 0.1
        )
        found = await answers
        took = monotonic() - began
    failed = [text for status, text in found if status != 200]
    figure(
        f"asleep after {slept:.0f} s; {requests} at once: pod asked for after {asked:.1f} s, ready after {ready:.1f} s, "
        f"all answered after {took:.1f} s, {len(failed)} failed"
    )
    assert failed == []
    assert asked <= 3
    # Fifty at four a time and 500 ms each take 6.5 s of one pod.
    assert took <= ready + 3 + (0 if requests == 1 else 6.5)


async def gathered(client: aiohttp.ClientSession, url: str, requests: int) -> list[tuple[int, str]]:
    return await asyncio.gather(*[ask(client, url) for _ in range(requests)])


def test_the_autoscaler_rests_meanwhile(hub: Release, figure: Any) -> None:
    eventually(lambda: asleep(hub), "no pod", 120)

    def rests() -> bool:
        conditions = hub.get(f"hpa/{hub.inference()}")["status"]["conditions"]
        return any(
            one["type"] == "ScalingActive" and one["reason"] == "ScalingDisabled" for one in conditions
        )

    took = eventually(rests, "the autoscaler rests", 40)
    # The last request leaves the window of 15 s.
    calm = eventually(lambda: demand(hub) == 0.0, "no demand", 20)
    figure(f"the autoscaler rests at 0, seen after {took:.0f} s; demand 0 after {calm:.0f} s more")
