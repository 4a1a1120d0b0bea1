"""Steps of a store that many ask for at the same time: those of one kind may be one call, and each has its own answer."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.record import JobRecord, State
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.valkey.server import Step, calls_of
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from tests.gateway.jobs.stores import DONE, MOST, claim, job, states
from tests.valkey import Valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")
LARGE = b"large" * 20_000


async def test_no_more_jobs_are_kept_than_may_wait(store: Store) -> None:
    added = await asyncio.gather(
        *[store.add(job(f"{number:03}")) for number in range(MOST + 20)], return_exceptions=True
    )
    refused = [one for one in added if isinstance(one, HubError)]
    assert [one.kind for one in refused] == [Kind.BUSY] * 20
    assert len(await states(store)) == MOST


async def test_each_gets_the_answer_to_its_own_question(store: Store) -> None:
    """Also with large requests among small ones, and one key for several."""
    requests = {f"{number:02}": LARGE if number % 7 == 3 else b"%d" % number for number in range(40)}
    keys = {"11": "k", "12": "k", "13": "other"}
    added = await asyncio.gather(
        *[store.add(job(id, request=data, key=keys.get(id, ""))) for id, data in requests.items()]
    )
    (of_key,) = {one.id for id, one in zip(requests, added, strict=True) if keys.get(id) == "k"}
    expected = {id for id in requests if keys.get(id) != "k"} | {of_key}
    found = await claim(store, 100)
    assert {one.id: one.request for one in found} == {id: requests[id] for id in expected}
    kept = await asyncio.gather(
        *[
            store.finish(one.id, one.attempt + number % 2, State.SUCCEEDED, "", DONE, 1.0)
            for number, one in enumerate(found)
        ]
    )
    assert kept == [number % 2 == 0 for number in range(len(found))]


async def test_a_step_that_fails_fails_alone(shared_valkey: Valkey) -> None:
    prefix = "{alone}:"
    store = ValkeyStore(shared_valkey.url, MOST, prefix=prefix)
    await store.start()
    ids = [f"{number}" for number in range(9)]
    for id in ids:
        await store.add(job(id))
    async with Redis.from_url(shared_valkey.url) as client:
        await client.set(f"{prefix}job:4", "no hash")
    found = await asyncio.gather(*[store.job("a", id) for id in ids], return_exceptions=True)
    failed = found.pop(4)
    assert isinstance(failed, HubError)
    assert (failed.kind, "failed" in failed.detail) == (Kind.NOT_READY, True)
    assert [one.id for one in found if isinstance(one, JobRecord)] == ids[:4] + ids[5:]
    await store.stop()


async def test_a_large_answer_has_the_time_of_a_call_for_itself(shared_valkey: Valkey) -> None:
    """Others in the same call would all be late with it."""
    store = ValkeyStore(shared_valkey.url, MOST, prefix="{large}:")
    await store.start()
    await store.add(job("1"))
    (one,) = await claim(store)
    await store.finish("1", one.attempt, State.SUCCEEDED, "", DONE, 1.0)
    async with Redis.from_url(shared_valkey.url) as client:

        async def calls() -> int:
            found = await client.info("commandstats")
            return int(found["cmdstat_evalsha"]["calls"])

        began = await calls()
        assert await asyncio.gather(*[store.result("a", "1") for _ in range(20)]) == [DONE] * 20
        alone = await calls()
        assert alone == began + 20
        await asyncio.gather(*[store.job("a", "1") for _ in range(20)])
        assert await calls() < alone + 20
    await store.stop()


async def test_a_call_is_no_larger_than_its_steps_are_many() -> None:
    """A step of many small parts, such as items of a batch, is large too."""
    items: Step = ("put", 50, 0.0, "b", 100, 10, *[b"r" * 1000] * 100)
    few: Step = ("put", 50, 0.0, "b", 1, 10, b"r" * 1000)
    assert calls_of([items, few, items, few]) == [[0], [1, 3], [2]]
