"""What each store of jobs does, whatever is behind it."""

from __future__ import annotations

import pytest

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.record import JobRecord, Place, Result, State
from inferencehub.gateway.jobs.store import LOST, ONCE, Store
from tests.gateway.jobs.stores import DONE, LEASE_S, MOST, claim, job, refused, states

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_job_from_its_beginning_to_its_end(store: Store) -> None:
    added = await store.add(job("1", request=b"what runs", caller="ci", tenant="lab", version="3"))
    assert (added.id, added.state, added.model, added.version, added.attempts) == (
        "1",
        State.QUEUED,
        "m",
        "3",
        0,
    )
    (one,) = await claim(store, 5, now=2.0, lane="m/3")
    assert (one.id, one.attempt, one.request, one.caller, one.tenant) == ("1", 1, b"what runs", "ci", "lab")
    running = await store.job("a", "1")
    assert (running.state, running.started, running.attempts, running.expires) == (
        State.RUNNING,
        2.0,
        1,
        None,
    )
    assert await claim(store, 5) == []
    assert await store.finish("1", 1, State.SUCCEEDED, "", DONE, 3.0)
    ended = await store.job("a", "1")
    assert (ended.state, ended.ended, ended.expires, ended.status) == (State.SUCCEEDED, 3.0, 103.0, 200)
    assert await store.result("a", "1") == DONE


async def test_nobody_else_sees_it(store: Store) -> None:
    await store.add(job("1"))
    for work in (store.job, store.result, store.delete):
        assert await refused(work("b", "1")) is Kind.NOT_FOUND
        assert await refused(work("a", "2")) is Kind.NOT_FOUND
    for change in (store.cancel, store.retry):
        assert await refused(change("b", "1", 0.0)) is Kind.NOT_FOUND
    assert await states(store, "b") == {}
    assert await states(store) == {"1": "queued"}


async def test_a_key_gives_the_same_job_and_no_other_one(store: Store) -> None:
    first = await store.add(job("1", key="k", digest="d"))
    assert (await store.add(job("2", key="k", digest="d"))).id == first.id
    assert await refused(store.add(job("3", key="k", digest="other"))) is Kind.KEY_REUSED
    assert (await store.add(job("4", key="k", digest="other", owner="b"))).id == "4"
    (one,) = await claim(store)
    await store.finish(one.id, one.attempt, State.SUCCEEDED, "", DONE, 0.0)
    assert (await store.add(job("5", key="k", digest="d"))).state is State.SUCCEEDED


async def test_only_the_newest_attempt_has_a_result(store: Store) -> None:
    await store.add(job("1"))
    (first,) = await claim(store)
    assert await store.sweep(LEASE_S) == 1
    (second,) = await claim(store, now=LEASE_S)
    assert (first.attempt, second.attempt, second.losses) == (1, 2, 1)
    assert not await store.finish("1", first.attempt, State.FAILED, "late", DONE, 40.0)
    assert await store.renew([("1", first.attempt), ("1", second.attempt)], LEASE_S, 40.0) == {("1", 2)}
    assert await store.renew([("1", first.attempt)], LEASE_S, 40.0) == set()
    assert await store.finish("1", second.attempt, State.SUCCEEDED, "", DONE, 41.0)
    assert not await store.finish("1", second.attempt, State.FAILED, "twice", DONE, 42.0)
    assert (await store.job("a", "1")).state is State.SUCCEEDED


async def test_any_number_of_leases_is_renewed(store: Store) -> None:
    await store.add(job("1"))
    (one,) = await claim(store)
    many = [(str(number), 1) for number in range(5000)]
    assert await store.renew([*many, (one.id, one.attempt)], LEASE_S, 1.0) == {("1", 1)}


async def test_a_lease_that_is_renewed_holds(store: Store) -> None:
    await store.add(job("1"))
    (one,) = await claim(store)
    await store.renew([(one.id, one.attempt)], LEASE_S, 20.0)
    assert await store.sweep(49.0) == 0
    assert await store.sweep(50.0) == 1


async def test_a_job_that_was_lost_twice_is_not_tried_again(store: Store) -> None:
    """Once with its gateway, and once with its pod, as its gateway says."""
    await store.add(job("1"))
    await claim(store)
    await store.sweep(LEASE_S)
    (second,) = await claim(store, now=LEASE_S)
    await store.put_back("1", second.attempt, LEASE_S, 1, 0, LEASE_S)
    record = await store.job("a", "1")
    assert (record.state, record.error, record.attempts) == (State.FAILED, LOST, 2)
    assert await claim(store, now=100.0) == []


async def test_a_job_that_may_not_run_twice_ends_with_its_gateway(store: Store) -> None:
    await store.add(job("1"))
    await claim(store, once=True)
    await store.sweep(LEASE_S)
    record = await store.job("a", "1")
    assert (record.state, record.error) == (State.FAILED, ONCE)


async def test_what_ran_nothing_comes_back_later(store: Store) -> None:
    await store.add(job("1"))
    (one,) = await claim(store)
    await store.put_back("1", one.attempt, 5.0, 0, 1, 1.0)
    assert await claim(store, now=4.9) == []
    (again,) = await claim(store, now=5.0)
    assert (again.attempt, again.refusals, again.losses) == (2, 1, 0)


async def test_a_job_waits_for_its_time(store: Store) -> None:
    await store.add(job("1", not_before=10.0))
    assert await claim(store, now=9.9) == []
    assert await store.waiting(9.9) == {}
    assert (await store.waiting(10.0))["m"].jobs == 1
    assert [one.id for one in await claim(store, now=10.0)] == ["1"]


async def test_priority_and_age_within_an_owner(store: Store) -> None:
    for id, priority in (("1", 4), ("2", 9), ("3", 4), ("4", 0)):
        await store.add(job(id, priority=priority))
    assert [(await store.job("a", id)).place for id in "1234"] == [1, 0, 2, 3]
    assert [one.id for one in await claim(store, 9)] == ["2", "1", "3", "4"]


async def test_owners_take_turns_by_their_weights(store: Store) -> None:
    """However many one has, and whatever its priorities."""
    for number in range(12):
        await store.add(job(f"a{number:02}", owner="a", priority=9))
        await store.add(job(f"b{number:02}", owner="b", weight=2.0, priority=0))
    taken = [one.owner for one in await claim(store, 9)]
    assert (taken.count("a"), taken.count("b")) == (3, 6)


async def test_jobs_are_claimed_by_their_rows(store: Store) -> None:
    for number in range(9):
        await store.add(job(str(number), rows=4))
    assert [one.rows for one in await claim(store, 10)] == [4, 4, 4]


async def test_who_has_jobs_for_later_keeps_no_turn_for_them(store: Store) -> None:
    """Else they, and who comes after them, would make up for all that others had meanwhile."""
    await store.add(job("later", owner="a", not_before=50.0))
    for number in range(40):
        await store.add(job(f"b{number:02}", owner="b"))
    await claim(store, 20)
    for number in range(20):
        await store.add(job(f"c{number:02}", owner="c"))
    taken = [one.owner for one in await claim(store, 8, now=1.0)]
    assert taken.count("c") in (4, 5)
    assert "later" in {one.id for one in await claim(store, 3, now=50.0)}


async def test_one_who_comes_later_makes_up_for_nothing(store: Store) -> None:
    for number in range(20):
        await store.add(job(f"a{number:02}", owner="a"))
    await claim(store, 10)
    for number in range(20):
        await store.add(job(f"b{number:02}", owner="b"))
    taken = [one.owner for one in await claim(store, 8)]
    assert taken.count("b") in (4, 5)


async def test_models_do_not_wait_for_each_other(store: Store) -> None:
    await store.add(job("1", model="slow"))
    await store.add(job("2", model="quick"))
    claims = await store.claim({"quick": Place(3), "none": Place(3)}, LEASE_S, 0.0)
    assert [one.id for one in claims] == ["2"]
    assert (await store.waiting(5.0)).keys() == {"slow"}


@pytest.mark.parametrize("running", [False, True])
async def test_a_job_that_is_cancelled_has_no_result(store: Store, running: bool) -> None:
    await store.add(job("1"))
    if running:
        await claim(store)
    assert (await store.cancel("a", "1", 5.0)).state is State.CANCELLED
    assert not await store.finish("1", 1, State.SUCCEEDED, "", DONE, 6.0)
    await store.put_back("1", 1, 0.0, 0, 0, 6.0)
    assert await store.renew([("1", 1)], LEASE_S, 6.0) == set()
    assert await claim(store) == []
    assert await refused(store.result("a", "1")) is Kind.GONE
    assert (await store.cancel("a", "1", 9.0)).ended == 5.0


async def test_what_has_ended_without_success_may_be_tried_again(store: Store) -> None:
    await store.add(job("1"))
    assert await refused(store.retry("a", "1", 0.0)) is Kind.CONFLICT
    (one,) = await claim(store)
    failed = Result(500, b"", b"no")
    await store.finish("1", one.attempt, State.FAILED, "no", failed, 1.0)
    assert await store.result("a", "1") == failed
    again = await store.retry("a", "1", 2.0)
    assert (again.state, again.status, again.error, again.ended) == (State.QUEUED, 0, "", None)
    (two,) = await claim(store, now=2.0)
    assert (two.attempt, two.request) == (2, b"r")
    await store.finish("1", two.attempt, State.SUCCEEDED, "", DONE, 3.0)
    assert await refused(store.retry("a", "1", 4.0)) is Kind.CONFLICT


async def test_a_job_that_waits_too_long_expires(store: Store) -> None:
    await store.add(job("1", keep_s=10.0))
    await store.sweep(10.0)
    assert (await store.job("a", "1")).state is State.EXPIRED
    assert await claim(store, now=10.0) == []
    assert await refused(store.result("a", "1")) is Kind.GONE


async def test_what_comes_back_may_wait_as_long_again(store: Store) -> None:
    await store.add(job("1", keep_s=10.0))
    (one,) = await claim(store, now=9.0)
    await store.put_back("1", one.attempt, 60.0, 0, 0, 60.0)
    await store.sweep(69.0)
    assert (await store.job("a", "1")).state is State.QUEUED
    await store.sweep(70.0)
    assert (await store.job("a", "1")).state is State.EXPIRED


async def test_many_are_forgotten_in_one_sweep(store: Store) -> None:
    for number in range(MOST):
        await store.add(job(f"{number}", keep_s=10.0))
    await store.sweep(10.0)
    assert set((await states(store)).values()) == {"expired"}


async def test_a_result_is_there_for_its_time_and_a_job_as_long_again(store: Store) -> None:
    await store.add(job("1", keep_s=10.0))
    (one,) = await claim(store)
    await store.finish("1", one.attempt, State.SUCCEEDED, "", DONE, 5.0)
    await store.sweep(14.9)
    assert await store.result("a", "1") == DONE
    await store.sweep(15.0)
    assert await refused(store.result("a", "1")) is Kind.GONE
    assert (await store.job("a", "1")).state is State.SUCCEEDED
    await store.sweep(25.0)
    assert await refused(store.job("a", "1")) is Kind.NOT_FOUND


async def test_a_job_that_is_deleted_is_gone_whatever_it_did(store: Store) -> None:
    await store.add(job("1"))
    await store.add(job("2"))
    (one,) = await claim(store)
    for id in ("1", "2"):
        await store.delete("a", id)
        assert await refused(store.job("a", id)) is Kind.NOT_FOUND
    assert not await store.finish(one.id, one.attempt, State.SUCCEEDED, "", DONE, 1.0)
    assert await claim(store) == []


async def test_jobs_are_listed_by_page_state_and_model(store: Store) -> None:
    for number in range(7):
        await store.add(job(f"{number}", model="mn"[number % 2]))
    (one,) = await claim(store, lane="n")
    pages: list[JobRecord] = []
    before = ""
    while found := await store.listed("a", "", "", 3, before):
        assert len(found) <= 3
        pages += found
        before = found[-1].id
    assert [one.id for one in pages] == list("6543210")
    assert [found.id for found in await store.listed("a", "running", "", 9, "")] == [one.id]
    assert [found.id for found in await store.listed("a", "queued", "n", 9, "")] == ["5", "3"]


async def test_so_many_may_wait_and_no_more(store: Store) -> None:
    for number in range(MOST):
        await store.add(job(f"{number:03}", key=f"k{number}"))
    assert await refused(store.add(job("more"))) is Kind.BUSY
    assert (await store.add(job("again", key="k0"))).id == "000"
    await claim(store, 10)
    await store.waiting(0.0)  # as a gateway does each second
    await store.add(job("more"))
