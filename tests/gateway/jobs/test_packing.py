"""Large requests and results are kept compressed, in both stores, and come back as they were."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.packing import LARGE, MARK, MOST_CLAIMED, WORTH, pack, unpack
from inferencehub.gateway.jobs.record import Result, State
from inferencehub.gateway.jobs.sqlite.store import SqliteStore
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from tests.gateway.jobs.stores import DONE, claim, job, refused
from tests.gateway.jobs.test_jobs import ADD, LATER, ask, ended, hub_with_jobs, submitted
from tests.valkey import running_valkey

LINES = b"content-type: application/json\r\n"
NUMBERS = np.random.default_rng(5).standard_normal(50_000).astype(np.float32)
JSON = json.dumps({"outputs": [{"name": "y", "data": NUMBERS.tolist()}]}).encode()
BINARY = NUMBERS.tobytes()
BODIES = {
    "nothing": b"",
    "small": b"yes",
    "json": JSON,
    "json of some KB": JSON[:20_000],
    "binary": BINARY,
    "zeros": bytes(10 * LARGE),
    "like a mark": MARK + b"\x01" + b"no, it is not",
    "like a large mark": MARK + bytes(2 * LARGE),
}


class Behind:
    """What a store has behind it: it is read and written as it is."""

    def __init__(self, store: SqliteStore | ValkeyStore, url: str) -> None:
        self.store: Store = store
        self._url = url

    async def kept(self, id: str) -> tuple[bytes, bytes]:
        """Request and body of a result."""
        if isinstance(self.store, SqliteStore):

            def work(db: sqlite3.Connection) -> tuple[bytes, bytes]:
                found = []
                for query in ("SELECT data FROM requests", "SELECT body FROM results"):
                    row = db.execute(f"{query} WHERE id = ?", (id,)).fetchone()
                    found.append(row[0] if row else b"")
                return found[0], found[1]

            return await self.store._database.do(work)
        async with Redis.from_url(self._url) as client:
            request: Any = await client.get(f"{{inferencehub}}:request:{id}")
            body: Any = await cast(Any, client.hget(f"{{inferencehub}}:result:{id}", "body"))
            return request or b"", body or b""

    async def put(self, id: str, request: bytes, result: Result) -> None:
        """Write as a release did that compressed nothing; the result only if there is one."""
        if isinstance(self.store, SqliteStore):

            def work(db: sqlite3.Connection) -> None:
                db.execute("UPDATE requests SET data = ? WHERE id = ?", (request, id))
                db.execute(
                    "UPDATE results SET lines = ?, body = ? WHERE id = ?", (result.lines, result.body, id)
                )

            await self.store._database.do(work)
            return
        async with Redis.from_url(self._url) as client:
            await client.set(f"{{inferencehub}}:request:{id}", request)
            fields: Any = {"lines": result.lines, "body": result.body}
            await cast(Any, client.hset(f"{{inferencehub}}:result:{id}", mapping=fields))


@asynccontextmanager
async def behind(kind: str, directory: Path) -> AsyncIterator[Behind]:
    if kind == "sqlite":
        lite = SqliteStore(str(directory / "jobs.db"), 100)
        await lite.start()
        yield Behind(lite, "")
        await lite.stop()
        return
    async with running_valkey(directory) as valkey:
        store = ValkeyStore(valkey.url, 100)
        await store.start()
        yield Behind(store, valkey.url)
        await store.stop()


STORES = pytest.mark.parametrize("kind", ["sqlite", "valkey"])


@STORES
async def test_requests_and_results_come_back_as_they_were(kind: str, tmp_path: Path) -> None:
    async with behind(kind, tmp_path) as made:
        store = made.store
        for number, body in enumerate(BODIES.values()):
            id = str(number)
            await store.add(job(id, request=body))
            (one,) = await claim(store)
            assert (one.id, one.request) == (id, body)
            assert await store.finish(id, 1, State.FAILED, "why", Result(400, LINES, body), 1.0)
            assert await store.result("a", id) == Result(400, LINES, body)
            await store.retry("a", id, 2.0)
            (one,) = await claim(store, now=2.0)
            assert (one.attempt, one.request) == (2, body)


@STORES
async def test_a_gateway_takes_no_more_than_it_can_unpack(kind: str, tmp_path: Path) -> None:
    """What is small in the store may be large in memory."""
    large = bytes(MOST_CLAIMED // 2 + 1)
    async with behind(kind, tmp_path) as made:
        store = made.store
        for id in ("1", "2", "3"):
            await store.add(job(id, request=large))
        for id in ("1", "2", "3"):
            (one,) = await claim(store, 3)
            assert (one.id, one.request == large) == (id, True)
            await store.finish(id, one.attempt, State.SUCCEEDED, "", DONE, 1.0)
        assert await claim(store, 3) == []


@STORES
async def test_what_gets_smaller_is_kept_smaller(kind: str, tmp_path: Path) -> None:
    async with behind(kind, tmp_path) as made:
        sizes = {}
        for name, body in BODIES.items():
            await made.store.add(job(name, request=body))
            await claim(made.store)
            await made.store.finish(name, 1, State.FAILED, "why", Result(400, LINES, body), 1.0)
            request, kept = await made.kept(name)
            assert request == kept
            sizes[name] = len(kept)
        assert sizes["json"] < 0.6 * len(JSON)
        assert sizes["json of some KB"] < 0.6 * 20_000
        assert sizes["zeros"] < 0.01 * 10 * LARGE
        assert (sizes["small"], sizes["binary"]) == (3, len(BINARY))


@STORES
async def test_what_was_kept_as_it_was_is_read(kind: str, tmp_path: Path) -> None:
    """By a release that compressed nothing: a body may begin with any byte then."""
    async with behind(kind, tmp_path) as made:
        nothing = Result(0, b"", b"")
        for number, body in enumerate(BODIES.values()):
            id, old = str(number), Result(200, LINES, body)
            request = b"\x94" + body  # MessagePack: a list of four
            await made.store.add(job(id))
            await made.put(id, request, nothing)
            (one,) = await claim(made.store)
            assert one.request == request
            assert await made.store.finish(id, 1, State.SUCCEEDED, "", DONE, 1.0)
            await made.put(id, request, old)
            assert await made.store.result("a", id) == old


@STORES
async def test_what_is_damaged_takes_no_others_along(kind: str, tmp_path: Path) -> None:
    async with behind(kind, tmp_path) as made:
        store = made.store
        for id in ("1", "2"):
            await store.add(job(id, request=JSON, created=float(id)))
        cut = (await made.kept("1"))[0][:-10]
        await made.put("1", cut, DONE)
        claims = await claim(store, 2, now=3.0)
        assert [one.request for one in claims] == [cut, JSON]
        await store.finish("1", 1, State.SUCCEEDED, "", DONE, 4.0)
        await made.put("1", cut, Result(200, MARK + LINES, cut))
        assert await refused(store.result("a", "1")) is Kind.NOT_READY


async def test_a_job_has_its_answer_whatever_its_size(tmp_path: Path) -> None:
    data = NUMBERS.tolist()
    large = {"inputs": [{**ADD, "shape": [len(data)], "data": data}]}
    async with hub_with_jobs(tmp_path) as hub:
        right = (await ask(hub, "POST", "/v2/models/adds/infer", large))[1]
        job = await submitted(hub, "/v2/models/adds/infer", large)
        await ended(hub, job)
        assert (await ask(hub, "GET", f"{job}/result"))[1] == right
        waits = {**LATER, "prefer": "respond-async, wait=20", "idempotency-key": "k"}
        for _ in range(2):
            assert (await ask(hub, "POST", "/v2/models/adds/infer", large, **waits))[1] == right


@given(data=st.one_of(st.binary(max_size=100), st.binary(max_size=8).map(lambda seed: seed * WORTH)))
def test_all_bytes_come_back(data: bytes) -> None:
    for one in (data, MARK + data):
        kept = pack(one)
        assert (unpack(kept) if kept.startswith(MARK) else kept) == one


@given(data=st.binary(max_size=200), size=st.integers(0, 2**64 - 1))
def test_what_is_damaged_is_told_and_never_large(data: bytes, size: int) -> None:
    whole = pack(bytes(WORTH))
    bomb = whole[:2] + (WORTH // 2).to_bytes(8) + whole[10:]
    damaged = MARK + b"\x01" + size.to_bytes(8) + data
    for one in (bomb, damaged, whole[:-1], whole + b"x", MARK, MARK + b"\x02" + data):
        with pytest.raises(ValueError, match=r"."):
            unpack(one)


def test_a_bomb_takes_no_memory() -> None:
    bomb = pack(bytes(2**26))
    bomb = bomb[:2] + WORTH.to_bytes(8) + bomb[10:]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="expected 8192 bytes"):
            unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
