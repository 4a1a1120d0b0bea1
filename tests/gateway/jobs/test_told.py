"""What attempts tell before they end, in each store of jobs."""

from __future__ import annotations

import pytest

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.record import Result, State
from inferencehub.gateway.jobs.store import Store
from tests.gateway.jobs.stores import DONE, claim, job, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")
STREAM = Result(200, b"content-type: text/event-stream; charset=utf-8\r\n", b"data: 1\n\ndata: 2\n\n")


async def begun(store: Store, once: bool = False) -> None:
    """A job whose first attempt has told something."""
    await store.add(job("1"))
    await claim(store, once=once)
    assert await store.tell("1", 1, 0, b"data: 1\n\n", 0.25) == 9


async def seen(store: Store) -> tuple[float | None, int]:
    record = await store.job("a", "1")
    return record.progress, record.told


async def test_what_is_told_is_read_from_any_place(store: Store) -> None:
    await begun(store)
    assert await store.tell("1", 1, 9, b"data: 2\n\n", None) == 18
    assert await seen(store) == (0.25, 18)
    assert await store.told("a", "1", 1, 0, 100) == STREAM.body
    assert [await store.told("a", "1", 1, at, 4) for at in range(18)] == [
        STREAM.body[at : at + 4] for at in range(18)
    ]
    assert await store.told("a", "1", 1, 18, 100) == await store.told("a", "1", 1, 10**12, 100) == b""
    assert await store.told("a", "1", 2, 0, 100) == b""


async def test_nothing_is_told_twice_and_nothing_left_out(store: Store) -> None:
    await begun(store)
    assert await store.tell("1", 1, 0, b"data: 1\n\n", None) == 9
    assert await store.tell("1", 1, 7, b"\n\ndata", None) == 13
    assert await store.tell("1", 1, 14, b": 2\n\n", 0.5) == 13, "what comes before is not there"
    assert await store.tell("1", 1, 13, b"", 0.75) == 13
    assert (await store.told("a", "1", 1, 0, 100), await seen(store)) == (b"data: 1\n\ndata", (0.75, 13))


async def test_only_who_runs_it_tells(store: Store) -> None:
    await store.add(job("1"))
    assert await store.tell("1", 0, 0, b"x", None) == -1
    await claim(store)
    assert await store.tell("1", 2, 0, b"x", 0.5) == await store.tell("2", 1, 0, b"x", 0.5) == -1
    await store.finish("1", 1, State.SUCCEEDED, "", DONE, 1.0)
    assert await store.tell("1", 1, 0, b"x", 0.5) == -1
    assert await seen(store) == (None, 0)
    assert await refused(store.told("b", "1", 1, 0, 9)) is Kind.NOT_FOUND
    assert await refused(store.told("a", "2", 1, 0, 9)) is Kind.NOT_FOUND


async def test_a_new_attempt_begins_anew(store: Store) -> None:
    await begun(store)
    await store.put_back("1", 1, 1.0, 0, 0, 1.0)
    assert (await seen(store), await store.told("a", "1", 1, 0, 9)) == ((None, 0), b"")
    await claim(store, now=2.0)
    assert await store.tell("1", 1, 9, b"data: 2\n\n", 1.0) == -1
    assert await store.tell("1", 2, 0, b"data: 3\n\n", None) == 9
    assert (await seen(store), await store.told("a", "1", 2, 0, 9)) == ((None, 9), b"data: 3\n\n")


async def test_behind_the_end_it_is_the_result(store: Store) -> None:
    """Also what was never told."""
    for told in (True, False):
        if told:
            await begun(store)
        else:
            await store.delete("a", "1")
            await store.add(job("1"))
            await claim(store)
        await store.finish("1", 1, State.SUCCEEDED, "", STREAM, 1.0)
        assert await seen(store) == (0.25 if told else None, 18)
        assert await store.result("a", "1") == STREAM
        assert await store.told("a", "1", 1, 9, 4) == b"data"
    await store.sweep(101.0)
    assert (await seen(store))[1] == 0
    assert await refused(store.result("a", "1")) is Kind.GONE
    assert await store.told("a", "1", 1, 0, 9) == b""


async def test_a_result_that_is_no_stream_takes_its_place(store: Store) -> None:
    await begun(store)
    await store.finish("1", 1, State.FAILED, "too large", DONE, 1.0)
    assert await seen(store) == (0.25, 0)
    assert (await store.told("a", "1", 1, 0, 9), await store.result("a", "1")) == (b"", DONE)
    await store.retry("a", "1", 2.0)
    assert await seen(store) == (None, 0)


@pytest.mark.parametrize("how", ["cancel", "lost once", "delete", "no result"])
async def test_without_a_result_it_goes(store: Store, how: str) -> None:
    await begun(store, once=how == "lost once")
    if how == "cancel":
        await store.cancel("a", "1", 1.0)
    elif how == "lost once":
        await store.sweep(100.0)
        assert (await store.job("a", "1")).state is State.FAILED
    elif how == "delete":
        await store.delete("a", "1")
        await store.add(job("1"))
    else:
        await store.finish("1", 1, State.FAILED, "it failed", Result(0, b"", b""), 1.0)
    assert (await seen(store))[1] == 0
    assert await store.told("a", "1", 1, 0, 9) == b""


async def test_large_ones_are_read_in_pieces(store: Store) -> None:
    await store.add(job("1"))
    await claim(store)
    whole = bytes(range(256)) * 16_384  # 4 MB
    for at in range(0, len(whole), 2**20):
        assert await store.tell("1", 1, at, whole[at : at + 2**20], None) == at + 2**20
    for at in (0, 1, 2**20 - 1, 2**20, 3 * 2**20 + 7):
        assert await store.told("a", "1", 1, at, 3 * 2**19) == whole[at : at + 3 * 2**19]
