"""What each store does with wishes of models, whatever is behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time

import pytest

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.sqlite.store import SqliteStore
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from inferencehub.gateway.routing.control.wishes import Known, Wish
from tests.gateway.jobs.stores import MOST, refused
from tests.valkey import Valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_what_is_kept_is_read(store: Store) -> None:
    wishes = store.wishes
    assert await wishes.read(0) is None, "nothing is wished"
    first = Wish("m", await wishes.revision(), True, '{"backend": "mock"}')
    second = Wish("a b:c/é", await wishes.revision(), False, "")
    for wish in (first, second):
        await wishes.keep(wish)
    known = await wishes.read(0)
    assert known == Known(known.mark if known else 0, {"m": first, "a b:c/é": second})
    assert known is not None
    assert await wishes.read(known.mark) is None
    third = Wish("m", await wishes.revision(), False, "")
    await wishes.keep(third)
    later = await wishes.read(known.mark)
    assert later is not None
    assert later.mark > known.mark
    assert later.wishes == {"m": third, "a b:c/é": second}


async def test_the_highest_revision_stays(store: Store) -> None:
    old, new = [Wish("m", await store.wishes.revision(), number == 1, "") for number in (0, 1)]
    await store.wishes.keep(new)
    known = await store.wishes.read(0)
    await store.wishes.keep(old)
    assert known is not None
    assert await store.wishes.read(0) == known
    assert await store.wishes.read(known.mark) is None
    assert known.wishes == {"m": new}


async def test_revisions_grow_and_follow_the_clock(store: Store) -> None:
    before = int(time() * 1e6) - 10**6
    given = await asyncio.gather(*[store.wishes.revision() for _ in range(200)])
    assert sorted(set(given)) == given
    assert before < given[0]
    assert given[-1] < 2**53


async def test_a_file_keeps_them(tmp_path: Path) -> None:
    file = str(tmp_path / "jobs.db")
    wish = Wish("m", 0, True, "")
    for turn in range(2):
        store = SqliteStore(file, MOST)
        await store.start()
        if turn == 0:
            wish = wish._replace(revision=await store.wishes.revision())
            await store.wishes.keep(wish)
        known = await store.wishes.read(0)
        assert known is not None
        assert known.wishes == {"m": wish}
        assert await store.wishes.revision() > known.mark
        await store.stop()


async def test_a_store_that_is_not_there_says_so(shared_valkey: Valkey) -> None:
    store = ValkeyStore("redis://127.0.0.1:1/0", MOST)
    await store.start()
    for work in (store.wishes.revision(), store.wishes.read(0), store.wishes.keep(Wish("m", 1, True, ""))):
        assert await refused(work) is Kind.NOT_READY
    await store.stop()
