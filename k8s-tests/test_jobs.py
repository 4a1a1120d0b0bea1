"""Jobs on a cluster: what waits in their store wakes a pool and scales it, and when it is done, the pool sleeps again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
from cluster import Release, eventually, release, secret
from demand import demand, replicas, values
from jobs_seen import Look, write

from inferencehub.core.auth.key_file import digest, new_key

QUIET_S = 10
BODY = {"features": [0.5, 1.2, -3.4], "model_name": "v1-mock"}
KEYS = {name: new_key(name) for name in ("greedy", "modest")}
# 500 jobs of 500 ms on pods of 4 slots: 62 s of one pod. With 15 s to work them off, the backlog asks for 4.2 pods.
JOBS, DRAIN_S, PODS = 500, 15, 6


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    zero = {"enabled": True, "quietSeconds": QUIET_S, "models": {"v1-mock": {"slots": 4}}}
    chosen = values(minReplicas=1, maxReplicas=PODS, scaleToZero=zero)
    chosen["gateway"] |= {"replicas": 2}
    image = {"repository": "inferencehub-valkey", "tag": "dev"}
    embedded = {"enabled": True, "image": image, "storage": {"persistent": False}}
    entries = [
        {"id": name, "tenant": name, "sha256": digest(key.encode()).hex()} for name, key in KEYS.items()
    ]
    chosen |= {
        "jobs": {"redis": {"embedded": embedded}, "drainSeconds": DRAIN_S},
        "auth": {"apiKeys": {"existingSecret": "keys"}},
        "extraObjects": [secret("keys", keys_json=json.dumps({"keys": entries}))],
    }
    with release(chosen, "hub-jobs") as hub:
        yield hub


def asleep(hub: Release) -> bool:
    return replicas(hub) == (0, 0) and not hub.pods("inference")


def bearer(tenant: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[tenant]}"}


async def submit(client: aiohttp.ClientSession, url: str, tenant: str, number: int) -> str:
    """The path of a job that was accepted."""
    headers = {**bearer(tenant), "prefer": "respond-async", "idempotency-key": str(number)}
    async with client.post(f"{url}/predict", json=BODY, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        assert answer.headers["hub-durability"] == "always"
        return answer.headers["location"]


async def ended(client: aiohttp.ClientSession, url: str, tenant: str, job: str) -> tuple[float, int, str]:
    """When a job ended on our clock, and its answer."""
    while True:
        async with client.get(f"{url}{job}/result?wait=30", headers=bearer(tenant)) as answer:
            if answer.status != 202:
                return monotonic(), answer.status, await answer.text()


async def look(hub: Release, began: float, done: list[float], total: int, seen: list[Look]) -> None:
    """What can be seen of the pool, once a second."""
    while True:
        asked, ready = await asyncio.to_thread(replicas, hub)
        wanted = await asyncio.to_thread(demand, hub)
        seen.append(Look(monotonic() - began, total - len(done), wanted, asked, ready))
        await asyncio.sleep(1.0)


async def test_a_few_jobs_wake_a_pool_and_run(hub: Release, figure: Any) -> None:
    await asyncio.to_thread(eventually, lambda: asleep(hub), "no pod", 180)
    url = hub.url()
    async with aiohttp.ClientSession() as client, asyncio.timeout(90):
        began = monotonic()
        jobs = [await submit(client, url, "modest", hash((began, number))) for number in range(8)]
        found = await asyncio.gather(*[ended(client, url, "modest", job) for job in jobs])
        took = monotonic() - began
        assert {status for _, status, _ in found} == {200}
        async with client.get(f"{url}{jobs[0]}", headers=bearer("greedy")) as answer:
            assert answer.status == 404, "a job of another tenant is not there"
    figure(f"8 jobs of a pool without pods: all done after {took:.1f} s")


@pytest.mark.long
@pytest.mark.parametrize("modest", [0, 50])
async def test_jobs_wake_a_pool_scale_it_and_let_it_sleep(hub: Release, modest: int, figure: Any) -> None:
    await asyncio.to_thread(eventually, lambda: asleep(hub), "no pod", 180)
    url = hub.url()
    done: dict[str, list[float]] = {"greedy": [], "modest": []}
    answers: Counter[tuple[int, str]] = Counter()
    seen: list[Look] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        began = monotonic()
        run = f"{modest}-{began}"
        every: list[float] = []
        watch = asyncio.create_task(look(hub, began, every, JOBS, seen))
        jobs = [
            (tenant, await submit(client, url, tenant, hash((run, number))))
            for tenant, count in (("greedy", JOBS - modest), ("modest", modest))
            for number in range(count)
        ]
        accepted_s = monotonic() - began

        async def follow(tenant: str, job: str) -> None:
            at, status, text = await ended(client, url, tenant, job)
            done[tenant].append(at - began)
            every.append(at)
            answers[status, text] += 1

        async with asyncio.timeout(240):
            await asyncio.gather(*[follow(*job) for job in jobs])
        took = monotonic() - began
        await asyncio.to_thread(eventually, lambda: asleep(hub), "no pod after the jobs", 240)
        back_s = monotonic() - began - took
        watch.cancel()
    write(f"jobs-{modest or 'one-tenant'}", seen)
    most = max(one.ready for one in seen)
    woken = next(one.at_s for one in seen if one.asked)
    last = {tenant: max(times, default=0.0) for tenant, times in done.items()}
    figure(
        f"{JOBS} jobs of 500 ms accepted in {accepted_s:.1f} s at no pod; a pod asked for after {woken:.0f} s, {most} pods at "
        f"most, all done after {took:.0f} s, no pod {back_s:.0f} s later; last of greedy {last['greedy']:.0f} s, of modest "
        f"{last['modest']:.0f} s"
    )
    ((status, _),) = answers
    assert (status, answers.total()) == (200, JOBS)
    assert 3 <= most <= PODS
    assert took < 62, "one pod alone would have taken as long"
    if modest:  # it has its turn with each of the other one's jobs
        assert last["modest"] < 0.6 * last["greedy"]
