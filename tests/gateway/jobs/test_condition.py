"""How a store of jobs says that it is, and what the doctor makes of it."""

from __future__ import annotations

from pathlib import Path
from time import time

import pytest

from inferencehub.core.process.doctor.finding import Level
from inferencehub.gateway.jobs.condition import WHAT, Condition, StoreCheck, of_condition
from inferencehub.gateway.jobs.sqlite.store import SqliteStore
from inferencehub.gateway.jobs.store import Store
from tests.doctors import one

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_store_that_works(store: Store) -> None:
    found = await store.condition()
    assert found.evicts == ""
    assert "@" not in found.where
    assert found.clock is None or abs(found.clock - time()) < 60


async def test_a_store_that_works_but_whose_last_question_failed(store: Store) -> None:
    found = await StoreCheck(store, lambda: False).look()
    assert "the last question for jobs failed" in one(found, WHAT, Level.WARNING).seen or len(found) == 2


async def test_a_file_that_is_closed(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "jobs.db"), 10)
    (found,) = await StoreCheck(store, lambda: True).look()
    assert found.level is Level.FAULT


async def test_what_is_wrong_with_one_that_answers() -> None:
    one(of_condition(Condition("db:6379", persists=True)), WHAT, Level.OK)
    assert "allkeys-lru" in one(of_condition(Condition("db:6379", evicts="allkeys-lru")), WHAT).seen
    assert (
        "in memory only" in one(of_condition(Condition("db:6379", persists=False)), WHAT, Level.WARNING).seen
    )
    full = Condition("db:6379", used=95 * 2**20, most=100 * 2**20)
    assert one(of_condition(full), WHAT, Level.WARNING).seen == "db:6379 uses 95 MiB of 100 MiB"
    assert "behind" in one(of_condition(Condition("db:6379", clock=time() - 60)), "clock").seen
