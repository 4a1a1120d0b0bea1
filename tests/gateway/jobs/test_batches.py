"""What each store does with batches, whatever is behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.batch import OPEN_S, ItemAnswer, NewItem, item_id
from inferencehub.gateway.jobs.record import JobRecord, NewJob, Result, State, Webhook
from inferencehub.gateway.jobs.sqlite import batches as sqlite_batches
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.submit import new_id
from tests.gateway.jobs.stores import DONE, LEASE_S, MOST, claim, job, refused, states

pytestmark = pytest.mark.asyncio(loop_scope="module")
NO = Result(400, b"content-type: text/plain\r\n", b"no")
FAILED = Result(500, b"", b"broken")


def new_batch(**fields: Any) -> NewJob:
    return job(f"{new_id()}_batch", **{"request": b"", **fields})


def item(batch: NewJob, number: int, refusal: Result | None = None) -> NewItem:
    fields = {"owner": batch.owner, "created": batch.created, "not_before": batch.not_before}
    one = job(item_id(batch.id, number), keep_s=batch.keep_s, request=b"r%d" % number, **fields)
    return NewItem(one, f"c{number}", "no" if refusal else "", refusal)


async def finish_steps(store: Store, id: str, now: float) -> None:
    while await store.batches.step(id, now):
        pass


async def added(store: Store, total: int, refusals: tuple[int, ...] = (), **fields: Any) -> NewJob:
    """A batch whose items may run."""
    batch = new_batch(**fields)
    assert await store.batches.begin(batch, total) is None
    items = [item(batch, number, NO if number in refusals else None) for number in range(1, total + 1)]
    await store.batches.put(batch.id, items, batch.created)
    await store.batches.seal(batch, ["m"])
    await finish_steps(store, batch.id, batch.created)
    return batch


def counts(record: JobRecord) -> tuple[int, ...]:
    """Total, running, succeeded, failed, cancelled, expired."""
    found = record.items
    assert found is not None
    return found.total, found.running, found.succeeded, found.failed, found.cancelled, found.expired


async def answers(store: Store, batch: NewJob) -> list[ItemAnswer]:
    found: list[ItemAnswer] = []
    while page := await store.batches.answers("a", batch.id, found[-1].id if found else ""):
        found += page
    return found


async def test_a_batch_from_its_beginning_to_its_end(store: Store) -> None:
    batch = await added(store, 3, refusals=(2,))
    assert await states(store) == {batch.id: "queued"}, "its items are not listed"
    assert counts(await store.job("a", batch.id)) == (3, 0, 0, 1, 0, 0)
    claims = await claim(store, 5, now=2.0)
    assert [(one.id, one.request) for one in claims] == [
        (item_id(batch.id, 1), b"r1"),
        (item_id(batch.id, 3), b"r3"),
    ]
    record = await store.job("a", batch.id)
    assert (record.state, record.started, record.expires, record.model) == (State.RUNNING, 2.0, None, "m")
    assert counts(record) == (3, 2, 0, 1, 0, 0)
    for one in claims:
        assert await store.finish(one.id, one.attempt, State.SUCCEEDED, "", DONE, 3.0)
    record = await store.job("a", batch.id)
    assert (record.state, record.ended, record.expires) == (State.SUCCEEDED, 3.0, 103.0)
    assert counts(record) == (3, 0, 2, 1, 0, 0)
    assert record.items is not None
    assert (record.items.models, record.items.doing) == (("m",), "")
    assert await answers(store, batch) == [
        ItemAnswer(item_id(batch.id, 1), "c1", State.SUCCEEDED, "", DONE),
        ItemAnswer(item_id(batch.id, 2), "c2", State.FAILED, "no", NO),
        ItemAnswer(item_id(batch.id, 3), "c3", State.SUCCEEDED, "", DONE),
    ]


async def test_an_item_may_have_a_stream_of_answers(store: Store) -> None:
    batch = await added(store, 2)
    first, second = await claim(store, 2, now=2.0)
    stream = Result(200, b"content-type: text/event-stream\r\n", b"data: 1\n\ndata: 2\n\n")
    assert await store.tell(first.id, first.attempt, 0, b"data: 1\n\n", None) == 9
    for one, result in ((first, stream), (second, DONE)):
        assert await store.finish(one.id, one.attempt, State.SUCCEEDED, "", result, 3.0)
    assert [one.result for one in await answers(store, batch)] == [stream, DONE]


async def test_an_item_that_ends_runs_no_longer_for_who_asks_at_the_same_time(store: Store) -> None:
    batch = await added(store, 2)
    first, _ = await claim(store, 2, now=2.0)
    asked = (batch.id, first.id, batch.id)
    before, _, after = await asyncio.gather(*[store.cancel("a", id, 3.0) for id in asked])
    assert (counts(before), counts(after)) == ((2, 2, 0, 0, 0, 0), (2, 1, 0, 0, 1, 0))


async def test_items_that_find_no_place_are_not_retried(store: Store) -> None:
    batch = await added(store, 30)
    for one in await claim(store, 30, now=1.0):
        assert await store.finish(one.id, one.attempt, State.FAILED, "broken", FAILED, 2.0)
    others = await added(store, MOST - 10)
    await store.waiting(2.0)  # counts what waits
    assert await refused(store.retry("a", batch.id, 3.0)) is Kind.BUSY
    assert (await store.job("a", batch.id)).state is State.FAILED
    await store.delete("a", others.id)
    await finish_steps(store, others.id, 3.0)
    await store.waiting(3.0)
    await store.retry("a", batch.id, 3.0)
    await finish_steps(store, batch.id, 3.0)
    assert len(await claim(store, 50, now=4.0)) == 30


async def test_nothing_runs_before_all_is_there(store: Store) -> None:
    batch = new_batch()
    await store.batches.begin(batch, 4)
    await store.batches.put(batch.id, [item(batch, 1), item(batch, 2)], 1.0)
    await store.sweep(OPEN_S)
    assert await claim(store, 9, now=OPEN_S) == []
    assert await refused(store.job("a", batch.id)) is Kind.NOT_FOUND
    assert (await states(store), await store.waiting(OPEN_S)) == ({}, {})
    await store.batches.put(batch.id, [item(batch, 3), item(batch, 4)], OPEN_S)
    await store.batches.seal(batch, ["m"])
    await store.sweep(OPEN_S)
    assert len(await claim(store, 9, now=OPEN_S)) == 4


@pytest.mark.parametrize("left", [False, True])
async def test_a_batch_that_is_not_finished_is_forgotten(store: Store, left: bool) -> None:
    """Its sender has left, or its gateway is gone."""
    batch = new_batch()
    await store.batches.begin(batch, MOST)
    await store.batches.put(batch.id, [item(batch, number) for number in range(1, MOST + 1)], 1.0)
    assert await refused(store.add(job("1"))) is Kind.BUSY
    if left:
        await store.batches.abandon(batch.id)
    await store.sweep(2.0 if left else OPEN_S + 1.0)
    await store.waiting(100.0)
    assert await refused(store.batches.put(batch.id, [item(batch, 60)], 100.0)) is Kind.NOT_READY
    assert await refused(store.batches.seal(batch, ["m"])) is Kind.NOT_READY
    assert await refused(store.job("a", item_id(batch.id, 1))) is Kind.NOT_FOUND
    await added(store, MOST)


async def test_a_batch_for_which_there_is_no_room(store: Store) -> None:
    await store.add(job("1"))
    assert await refused(store.batches.begin(new_batch(), MOST)) is Kind.BUSY
    batch = new_batch()
    await store.batches.begin(batch, MOST - 1)
    await store.add(job("2"))
    items = [item(batch, number) for number in range(1, MOST)]
    assert await refused(store.batches.put(batch.id, items, 0.0)) is Kind.BUSY


async def test_a_key_gives_the_same_batch(store: Store) -> None:
    batch = await added(store, 1, key="k", digest="d")
    again = new_batch(key="k", digest="d")
    same = await store.batches.begin(again, 1)
    assert same is not None
    assert (same.id, counts(same)) == (batch.id, (1, 0, 0, 0, 0, 0))
    assert await refused(store.batches.begin(new_batch(key="k", digest="other"), 1)) is Kind.KEY_REUSED
    # Two that come at a time: the second one finds out at its end.
    first, second = new_batch(key="two"), new_batch(key="two")
    for one in (first, second):
        assert await store.batches.begin(one, 1) is None
        await store.batches.put(one.id, [item(one, 1)], 0.0)
    assert [(await store.batches.seal(one, ["m"])).id for one in (first, second)] == [first.id, first.id]
    await store.sweep(0.0)
    assert {one.id for one in await claim(store, 9)} == {item_id(batch.id, 1), item_id(first.id, 1)}


async def test_a_batch_that_is_cancelled(store: Store) -> None:
    batch = await added(store, 4)
    (done, _) = await claim(store, 2)
    await store.finish(done.id, done.attempt, State.SUCCEEDED, "", DONE, 1.0)
    record = await store.cancel("a", batch.id, 2.0)
    assert record.items is not None
    assert record.items.doing == "cancel"
    await store.sweep(2.0)  # as if who asked for it were gone
    record = await store.job("a", batch.id)
    assert (record.state, record.ended, counts(record)) == (State.CANCELLED, 2.0, (4, 0, 1, 0, 3, 0))
    assert await claim(store, 9) == []
    assert [one.state for one in await answers(store, batch)] == [State.SUCCEEDED, *[State.CANCELLED] * 3]
    assert (await store.cancel("a", batch.id, 9.0)).ended == 2.0


async def test_a_batch_is_cancelled_while_its_items_are_released(store: Store) -> None:
    batch = new_batch()
    await store.batches.begin(batch, 3)
    await store.batches.put(batch.id, [item(batch, number) for number in (1, 2, 3)], 0.0)
    await store.batches.seal(batch, ["m"])
    await store.cancel("a", batch.id, 1.0)
    await store.sweep(1.0)
    assert await claim(store, 9) == []
    assert (await store.job("a", batch.id)).state is State.CANCELLED
    await store.retry("a", batch.id, 2.0)
    await store.sweep(2.0)
    assert len(await claim(store, 9, now=2.0)) == 3


async def test_what_failed_may_be_tried_again(store: Store) -> None:
    batch = await added(store, 3, refusals=(1,))
    assert await refused(store.retry("a", batch.id, 0.0)) is Kind.CONFLICT
    fails, succeeds = await claim(store, 9)
    await store.finish(fails.id, fails.attempt, State.FAILED, "broken", FAILED, 1.0)
    await store.finish(succeeds.id, succeeds.attempt, State.SUCCEEDED, "", DONE, 1.0)
    assert counts(await store.job("a", batch.id)) == (3, 0, 1, 2, 0, 0)
    record = await store.retry("a", batch.id, 2.0)
    assert (record.state, record.ended) == (State.QUEUED, None)
    await finish_steps(store, batch.id, 2.0)
    assert counts(await store.job("a", batch.id)) == (3, 0, 1, 1, 0, 0)
    (again,) = await claim(store, 9, now=2.0)
    assert (again.id, again.request, again.attempt) == (fails.id, b"r2", 2)
    await store.finish(again.id, again.attempt, State.SUCCEEDED, "", DONE, 3.0)
    record = await store.job("a", batch.id)
    assert (record.state, record.ended, counts(record)) == (State.SUCCEEDED, 3.0, (3, 0, 2, 1, 0, 0))
    assert await refused(store.retry("a", batch.id, 4.0)) is Kind.CONFLICT, "a refused item keeps nothing"


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("failed", "failed"), State.FAILED),
        (("failed", "succeeded"), State.SUCCEEDED),
        (("failed", "expired"), State.FAILED),
        (("expired", "expired"), State.EXPIRED),
    ],
)
async def test_how_a_batch_ends(store: Store, ends: tuple[str, ...], state: State) -> None:
    batch = await added(store, len(ends), keep_s=10.0)
    ran = [end for end in ends if end != "expired"]
    for one, end in zip(await claim(store, len(ran)) if ran else [], ran, strict=True):
        await store.finish(one.id, one.attempt, State(end), "", DONE if end == "succeeded" else FAILED, 1.0)
    await store.sweep(10.0)
    assert (await store.job("a", batch.id)).state is state


async def test_a_batch_whose_items_are_all_refused_has_ended(store: Store) -> None:
    batch = await added(store, 2, refusals=(1, 2))
    record = await store.job("a", batch.id)
    assert (record.state, counts(record)) == (State.FAILED, (2, 0, 0, 2, 0, 0))


async def test_a_lost_item_runs_again(store: Store) -> None:
    batch = await added(store, 1)
    await claim(store)
    assert await store.sweep(LEASE_S) == 1
    assert counts(await store.job("a", batch.id)) == (1, 0, 0, 0, 0, 0)
    await claim(store, now=LEASE_S)
    await store.sweep(2 * LEASE_S)
    record = await store.job("a", batch.id)
    assert (record.state, counts(record)) == (State.FAILED, (1, 0, 0, 1, 0, 0))


async def test_results_are_kept_as_long_as_their_batch(store: Store) -> None:
    batch = await added(store, 2, keep_s=100.0)
    first, second = await claim(store, 2)
    await store.finish(first.id, first.attempt, State.SUCCEEDED, "", DONE, 1.0)
    await store.finish(second.id, second.attempt, State.SUCCEEDED, "", DONE, 90.0)
    await store.sweep(189.0)
    assert [one.result for one in await answers(store, batch)] == [DONE, DONE]
    await store.sweep(190.0)
    assert await refused(store.batches.answers("a", batch.id, "")) is Kind.GONE
    assert await refused(store.job("a", first.id)) is Kind.NOT_FOUND
    record = await store.job("a", batch.id)
    assert (record.ended, counts(record)) == (90.0, (2, 0, 2, 0, 0, 0))
    assert await refused(store.retry("a", batch.id, 200.0)) is Kind.CONFLICT
    await store.sweep(290.0)
    assert await states(store) == {}


async def test_nothing_is_left_of_a_batch_that_is_deleted(store: Store) -> None:
    batch = await added(store, 3, key="k")
    (one, _) = await claim(store, 2)
    assert await refused(store.delete("b", batch.id)) is Kind.NOT_FOUND
    await store.delete("a", batch.id)
    assert await refused(store.job("a", batch.id)) is Kind.NOT_FOUND
    await store.finish(one.id, one.attempt, State.SUCCEEDED, "", DONE, 1.0)
    await finish_steps(store, batch.id, 1.0)
    assert not await store.finish(one.id, one.attempt, State.SUCCEEDED, "", DONE, 1.0)
    assert await claim(store, 9) == []
    for work in (store.job, store.result):
        assert await refused(work("a", one.id)) is Kind.NOT_FOUND
    assert await store.waiting(1.0) == {}
    assert await store.batches.begin(new_batch(key="k", digest="other"), MOST) is None


async def test_a_batch_waits_for_its_time_and_its_turn(store: Store) -> None:
    later = await added(store, 2, not_before=10.0)
    await store.add(job("1", created=0.5))
    assert [one.id for one in await claim(store, 9, now=9.0)] == ["1"]
    assert [one.id for one in await claim(store, 9, now=10.0)] == [item_id(later.id, n) for n in (1, 2)]


async def test_the_webhook_of_a_batch_is_due_at_its_end(store: Store) -> None:
    """Once, not for each item; a retry takes it back."""
    batch = await added(store, 2, refusals=(1,), webhook=Webhook("https://h.test/", "h.test:443", "r"))
    (one,) = await claim(store)
    assert await store.webhooks.claim(9, 9, {}, LEASE_S, 5.0) == []
    await store.finish(one.id, one.attempt, State.FAILED, "broken", FAILED, 5.0)
    (due,) = await store.webhooks.claim(9, 9, {}, LEASE_S, 5.0)
    assert (due.id, due.state, counts(due)) == (batch.id, State.FAILED, (2, 0, 0, 2, 0, 0))
    await store.retry("a", batch.id, 6.0)
    assert await store.webhooks.claim(9, 9, {}, LEASE_S, 5.0 + LEASE_S) == []
    record = await store.job("a", batch.id)
    assert record.webhook is not None
    assert (record.webhook.state, record.webhook.attempts) == ("pending", 0)


async def test_nobody_else_has_its_answers(store: Store) -> None:
    batch = await added(store, 1)
    assert await refused(store.batches.answers("b", batch.id, "")) is Kind.NOT_FOUND


async def test_more_items_than_a_step_and_a_page(store: Store) -> None:
    total = sqlite_batches.MOST_STEPPED + 20
    batch = new_batch()
    numbers = list(range(1, total + 1))
    assert total > MOST, "so they come as refused ones: the store takes no more that wait"
    await store.batches.begin(batch, 0)
    for at in range(0, total, 100):
        await store.batches.put(batch.id, [item(batch, number, NO) for number in numbers[at : at + 100]], 0.0)
    await store.batches.seal(batch, ["m"])
    await finish_steps(store, batch.id, 0.0)
    assert counts(await store.job("a", batch.id)) == (total, 0, 0, total, 0, 0)
    assert [one.custom_id for one in await answers(store, batch)] == [f"c{number}" for number in numbers]
    await store.delete("a", batch.id)
    await store.sweep(1.0)
    assert await refused(store.job("a", item_id(batch.id, total))) is Kind.NOT_FOUND
