"""What each store keeps of webhooks, whatever is behind it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.record import JobRecord, NewJob, State, Webhook
from inferencehub.gateway.jobs.store import Store
from tests.gateway.jobs.stores import DONE, LEASE_S, claim, job, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOOK = Webhook("https://h.test/é?token=/1", "h.test:443", "r1")


def told(id: str, host: str = "h.test:443", **fields: object) -> NewJob:
    """A job with a webhook."""
    return job(id, webhook=replace(HOOK, host=host), **fields)


async def due(store: Store, now: float, most: int = 9, each: int = 9, **places: int) -> list[JobRecord]:
    """What is claimed."""
    return await store.webhooks.claim(most, each, places, LEASE_S, now)


async def run(store: Store, state: State = State.SUCCEEDED, now: float = 1.0, count: int = 1) -> None:
    """Run jobs to their ends."""
    for one in await claim(store, count):
        assert await store.finish(one.id, one.attempt, state, "", DONE, now)


async def hook(store: Store, id: str = "1") -> Webhook:
    found = (await store.job("a", id)).webhook
    assert found is not None
    return found


async def test_a_job_says_where_its_end_is_told(store: Store) -> None:
    added = await store.add(told("1", key="k"))
    assert added.webhook == HOOK
    assert (await store.add(told("2", key="k"))).webhook == HOOK
    await store.add(job("3"))
    assert [one.webhook for one in await store.listed("a", "", "", 9, "")] == [None, HOOK]
    assert (await store.job("a", "3")).webhook is None


async def test_it_is_due_when_the_job_ends_and_not_before(store: Store) -> None:
    await store.add(told("1"))
    await store.add(job("2"))
    assert await due(store, 1.0) == []
    await run(store, now=5.0, count=2)
    assert await due(store, 4.9) == []
    (found,) = await due(store, 5.0)
    assert (found.id, found.state, found.ended, found.status) == ("1", State.SUCCEEDED, 5.0, 200)
    assert found.webhook == replace(HOOK, ends=1, attempts=1)


async def test_every_end_makes_it_due(store: Store) -> None:
    """Cancelled while it waits and while it runs, expired, lost too often, lost and not to run twice, failed."""
    for id in ("cancelled", "stopped", "expired", "once", "lost"):
        await store.add(told(id, model=id, keep_s=40.0))
    for id in ("stopped", "once", "lost"):
        await claim(store, lane=id, once=id == "once")
    for id in ("cancelled", "stopped"):
        await store.cancel("a", id, 1.0)
    await store.sweep(30.0)
    (lost,) = await claim(store, now=30.0, lane="lost")
    await store.put_back("lost", lost.attempt, 30.0, 1, 0, 30.0)
    await store.sweep(40.0)
    found = {one.id: one.state.value for one in await due(store, 50.0)}
    ends = {
        "cancelled": "cancelled",
        "stopped": "cancelled",
        "expired": "expired",
        "once": "failed",
        "lost": "failed",
    }
    assert found == ends


async def test_one_that_is_claimed_is_due_again_after_its_lease(store: Store) -> None:
    await store.add(told("1"))
    await run(store)
    (first,) = await due(store, 1.0)
    assert await due(store, LEASE_S) == []
    (second,) = await due(store, 1.0 + LEASE_S)
    assert first.webhook is not None
    assert second.webhook is not None
    assert (first.webhook.attempts, second.webhook.attempts, second.webhook.ends) == (1, 2, 1)
    assert not await store.webhooks.done("1", replace(first.webhook, state="delivered"), None)
    assert await store.webhooks.done("1", replace(second.webhook, state="delivered", status=204), None)
    assert await due(store, 1000.0) == []
    assert await hook(store) == replace(HOOK, state="delivered", ends=1, attempts=2, status=204)


async def test_one_that_failed_comes_back_when_it_is_said(store: Store) -> None:
    await store.add(told("1"))
    await run(store)
    (one,) = await due(store, 1.0)
    assert one.webhook is not None
    assert await store.webhooks.done("1", replace(one.webhook, status=500, error="it answered 500"), 7.5)
    assert (await hook(store)).error == "it answered 500"
    assert await due(store, 7.4) == []
    (again,) = await due(store, 7.5)
    assert again.webhook == replace(one.webhook, attempts=2, status=500, error="it answered 500")


async def test_one_that_is_given_up_does_not_come_back(store: Store) -> None:
    await store.add(told("1"))
    await run(store)
    (one,) = await due(store, 1.0)
    assert one.webhook is not None
    await store.webhooks.done("1", replace(one.webhook, state="failed", error="no"), None)
    assert await due(store, 1e6) == []
    assert (await hook(store)).state == "failed"


async def test_a_job_that_is_deleted_is_not_told(store: Store) -> None:
    for id in ("1", "2"):
        await store.add(told(id))
    await run(store, count=2)
    await store.delete("a", "1")
    (one,) = await due(store, 1.0)
    assert one.id == "2"
    await store.delete("a", "2")
    assert one.webhook is not None
    assert not await store.webhooks.done("2", one.webhook, 5.0)
    assert await due(store, 1e6) == []


async def test_each_end_of_a_job_that_is_retried_is_told_anew(store: Store) -> None:
    await store.add(told("1"))
    await run(store, State.FAILED)
    (first,) = await due(store, 1.0)
    await store.retry("a", "1", 2.0)
    assert first.webhook is not None
    assert not await store.webhooks.done("1", replace(first.webhook, state="delivered"), None)
    assert await due(store, 1e6) == []
    assert await hook(store) == replace(HOOK, ends=1)
    await run(store, now=3.0)
    (second,) = await due(store, 3.0)
    assert second.webhook == replace(HOOK, ends=2, attempts=1)


async def test_a_job_is_known_while_it_is_to_be_told_but_not_for_ever(store: Store) -> None:
    await store.add(told("1", keep_s=10.0))
    await run(store)
    for now in (11.0, 21.0, 31.0, 41.0):
        await store.sweep(now)
    (one,) = await due(store, 41.0)
    assert one.webhook is not None
    await store.webhooks.done("1", one.webhook, 50_000.0)
    await store.sweep(86_000.0)
    assert (await hook(store)).attempts == 1
    await store.sweep(86_500.0)
    assert await refused(store.job("a", "1")) is Kind.NOT_FOUND
    assert await due(store, 1e6) == []


async def test_one_that_was_told_is_forgotten_in_its_time(store: Store) -> None:
    await store.add(told("1", keep_s=10.0))
    await run(store)
    (one,) = await due(store, 1.0)
    assert one.webhook is not None
    await store.webhooks.done("1", replace(one.webhook, state="delivered"), None)
    await store.sweep(11.0)
    await store.sweep(21.0)
    assert await refused(store.job("a", "1")) is Kind.NOT_FOUND


async def test_hosts_take_turns_and_have_so_many_places(store: Store) -> None:
    for number in range(10):
        await store.add(told(f"a{number}", host="a"))
    for host in "bc":
        await store.add(told(f"{host}0", host=host))
    await run(store, count=12)

    async def hosts(most: int, each: int, **places: int) -> str:
        found = await due(store, 2.0, most, each, **places)
        return "".join(sorted(one.webhook.host for one in found if one.webhook is not None))

    assert await hosts(2, 9) == "aa"
    assert await hosts(2, 2) == "bc", "the others come first now"
    assert await hosts(9, 3, a=0) == ""
    assert await hosts(9, 3) == "aaa"
    assert await hosts(9, 3, a=9) == "aaaaa"
    assert await hosts(9, 9) == ""
