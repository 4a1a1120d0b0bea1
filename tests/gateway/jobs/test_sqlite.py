"""What only the store in SQLite does."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.files.watched import BadFile
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.record import State
from inferencehub.gateway.jobs.sqlite.batches import SAME
from inferencehub.gateway.jobs.sqlite.store import SqliteStore
from tests.gateway.jobs.stores import DONE, MOST, claim, job, refused, states


async def test_all_is_there_after_a_start(tmp_path: Path) -> None:
    file = str(tmp_path / "jobs.db")
    for expected in ({}, {"1": "queued", "2": "running"}):
        store = SqliteStore(file, MOST)
        await store.start()
        assert await states(store) == expected
        if not expected:
            await store.add(job("2"))
            await claim(store)
            await store.add(job("1"))
        await store.stop()


FIRST = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, caller TEXT NOT NULL, tenant TEXT NOT NULL,
    model TEXT NOT NULL, version TEXT NOT NULL, lane TEXT NOT NULL, rows INTEGER NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
    priority INTEGER NOT NULL, weight REAL NOT NULL, once INTEGER NOT NULL, keep_s REAL NOT NULL,
    created REAL NOT NULL, not_before REAL NOT NULL, expires REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL DEFAULT 0, started REAL, ended REAL, lease REAL NOT NULL DEFAULT 0,
    status INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', gone INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE requests (id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE results (id TEXT PRIMARY KEY, lines BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE flows (
    lane TEXT NOT NULL, owner TEXT NOT NULL, turn REAL NOT NULL, PRIMARY KEY (lane, owner)
) STRICT, WITHOUT ROWID;
INSERT INTO jobs (id, owner, caller, tenant, model, version, lane, rows, key, digest, priority, weight, once, keep_s, created,
    not_before, expires) VALUES ('1', 'a', '', '', 'm', '', 'm', 1, 'k', 'd', 4, 1.0, 0, 100.0, 0.0, 0.0, 100.0);
INSERT INTO requests VALUES ('1', x'72');
PRAGMA user_version = 1
"""


async def test_a_file_of_an_older_release_goes_on(tmp_path: Path) -> None:
    """With the first version of the tables."""
    file = str(tmp_path / "jobs.db")
    with closing(sqlite3.connect(file)) as old:
        old.executescript(FIRST)
    for _ in range(2):
        store = SqliteStore(file, MOST)
        await store.start()
        await store.stop()
    await store.start()
    await store.add(job("2"))
    claims = await claim(store, 2)
    assert [(one.id, one.request) for one in claims] == [("1", b"r"), ("2", b"r")]
    assert await store.tell("1", 1, 0, b"x", 0.5) == 1
    for one in claims:
        assert await store.finish(one.id, one.attempt, State.SUCCEEDED, "", DONE, 1.0)
    assert await store.result("a", "1") == DONE
    await store.stop()


async def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "jobs.db")
    with closing(sqlite3.connect(file)) as new:
        new.execute("PRAGMA user_version = 99")
    with pytest.raises(BadFile, match=r"has version 99, expected [0-9]+ at most: a newer release made it"):
        await SqliteStore(file, MOST).start()


async def test_it_is_for_one_gateway(tmp_path: Path) -> None:
    file = str(tmp_path / "jobs.db")
    first = SqliteStore(file, MOST)
    await first.start()
    with pytest.raises(BadFile, match="another gateway has it open, and it is for one"):
        await SqliteStore(file, MOST).start()
    await first.stop()
    await first.start()
    await first.stop()


async def test_a_key_is_found_by_its_index(tmp_path: Path) -> None:
    """Else each job with a key would cost as much as its owner has jobs."""
    store = SqliteStore(str(tmp_path / "jobs.db"), MOST)
    await store.start()
    query = f"EXPLAIN QUERY PLAN {SAME}"
    plan = await store._database.do(lambda db: db.execute(query, ("a", "k")).fetchall())
    assert "USING INDEX keys" in str(plan)
    await store.stop()


async def test_one_work_that_fails_takes_no_others_along(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "jobs.db"), MOST)
    await store.start()

    def fails(db: Any) -> None:
        db.execute("INSERT INTO jobs (id) VALUES ('half')")

    done = await asyncio.gather(
        store.add(job("1")), store._database.do(fails), store.add(job("2")), return_exceptions=True
    )
    assert isinstance(done[1], HubError)
    assert done[1].kind is Kind.NOT_READY
    assert await states(store) == {"1": "queued", "2": "queued"}
    await store.stop()


async def test_a_store_that_is_closed_answers(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "jobs.db"), MOST)
    await store.start()
    await store.stop()
    assert await refused(store.job("a", "1")) is Kind.NOT_READY


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
async def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "jobs.db"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(BadFile, match=r"^HUB_JOBS: '.*' cannot be used: "):
        await SqliteStore(str(file), MOST).start()


@pytest.mark.long
@given(weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=2, max_size=4), most=st.integers(1, 30))
async def test_turns_are_fair_to_a_job(weights: list[float], most: int) -> None:
    """Of owners who all have jobs waiting, none is more than one turn behind what its weight says."""
    store = SqliteStore(":memory:", 1000)
    await store.start()
    try:
        for number in range(40):
            for owner, weight in enumerate(weights):
                await store.add(job(f"{owner}-{number:02}", owner=str(owner), weight=weight))
        taken = [one.owner for one in await claim(store, most)]
        turns = [taken.count(str(owner)) / weight for owner, weight in enumerate(weights)]
        assert max(turns) - min(turns) <= 1 / min(weights) + 1e-9
    finally:
        await store.stop()
