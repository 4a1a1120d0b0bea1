"""What each store does with files, and with what a front keeps of a batch."""

from __future__ import annotations

import msgspec
import pytest
from redis.asyncio import Redis

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.batch import NewItem
from inferencehub.gateway.jobs.files import MOST_FILES, StoredFile
from inferencehub.gateway.jobs.record import NewJob, State
from inferencehub.gateway.jobs.sqlite.store import SqliteStore
from inferencehub.gateway.jobs.store import Store
from tests.gateway.jobs.stores import claim, job, refused
from tests.valkey import Valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE = b"0123456789" * 9_000


def file(id: str, size: int = 3, created: float = 0.0, expires: float = 100.0) -> StoredFile:
    return StoredFile(id, f"{id} ä.jsonl", size, created, expires)


async def test_a_file_from_its_beginning_to_its_end(store: Store) -> None:
    files = store.files
    await files.add("a", file("1"), b"\xc1\x00\xff")
    await files.add("a", file("2", len(LARGE)), LARGE)
    assert await files.file("a", "1", 99.9) == file("1")
    assert await files.data("a", "1", 99.9) == b"\xc1\x00\xff"
    assert await files.data("a", "2", 99.9) == LARGE
    assert await files.listed("a", 1.0) == [file("2", len(LARGE)), file("1")]
    await files.delete("a", "2", 1.0)
    assert await refused(files.delete("a", "2", 1.0)) is Kind.NOT_FOUND
    assert await files.listed("a", 1.0) == [file("1")]


async def test_nobody_else_sees_it(store: Store) -> None:
    files = store.files
    await files.add("a/:%", file("1"), b"abc")
    for owner, id in (("b", "1"), ("", "1"), ("a/:%", "2")):
        for work in (files.file, files.data, files.delete):
            assert await refused(work(owner, id, 0.0)) is Kind.NOT_FOUND
        assert owner != "b" or await files.listed(owner, 0.0) == []
    assert await files.data("a/:%", "1", 0.0) == b"abc"


async def test_it_is_forgotten_when_its_time_is_over(store: Store) -> None:
    files = store.files
    await files.add("a", file("1"), b"abc")
    await files.add("a", file("2", expires=200.0), b"abc")
    for work in (files.file, files.data, files.delete):
        assert await refused(work("a", "1", 100.0)) is Kind.NOT_FOUND
    assert await files.listed("a", 100.0) == [file("2", expires=200.0)]
    await store.sweep(100.0)
    assert await files.listed("a", 100.0) == [file("2", expires=200.0)]
    assert await files.data("a", "2", 100.0) == b"abc"


async def test_a_server_forgets_files_by_itself(store: Store, shared_valkey: Valkey) -> None:
    """Also if no gateway comes back."""
    if isinstance(store, SqliteStore):
        pytest.skip("its gateway does it")
    await store.files.add("forgotten", file("forgotten", expires=50.0), b"abc")
    await store.files.add("forgotten", file("forgotten2", expires=20.0), b"abc")
    client = Redis.from_url(shared_valkey.url, decode_responses=True)
    try:
        keys = map(str, await client.keys("*:forgotten*"))
        left = {key.rpartition(":")[2]: await client.ttl(key) for key in keys}
    finally:
        await client.aclose()
    assert left.keys() == {"forgotten", "forgotten2"}
    assert all(0 < left[id] <= most for id, most in (("forgotten", 50), ("forgotten2", 20)))


async def test_an_owner_has_so_many_bytes(store: Store) -> None:
    files = store.files
    await files.add("a", file("1", 60_000), b"abc")
    assert await refused(files.add("a", file("2", 40_001), b"abc")) is Kind.BUSY
    await files.add("a", file("2", 40_000), b"abc")
    assert await refused(files.add("a", file("3", 1), b"a")) is Kind.BUSY
    await files.add("b", file("3", 100_000), b"abc")
    await files.delete("a", "1", 0.0)
    await files.add("a", file("4", 60_000), b"abc")
    await files.add("a", file("5", 60_000, 100.0, 200.0), b"abc")  # the time of the others is over


async def test_an_owner_has_so_many_files(store: Store) -> None:
    for number in range(MOST_FILES):
        await store.files.add("a", file(f"{number:04}"), b"a")
    assert await refused(store.files.add("a", file("more"), b"a")) is Kind.BUSY
    found = await store.files.listed("a", 0.0)
    assert [one.id for one in found] == [f"{number:04}" for number in reversed(range(MOST_FILES))]
    await store.files.add("b", file("more"), b"a")


def batch(id: str, about: bytes = b"", **fields: object) -> NewJob:
    return msgspec.structs.replace(job(f"{id}_batch", request=about, model=""), **fields)


async def made(store: Store, one: NewJob, items: int = 1) -> None:
    """A batch whose items may run."""
    batches = store.batches
    await batches.begin(one, items)
    if items:
        rows = [
            NewItem(job(f"{one.id}-{number:06}", owner=one.owner), f"c{number}", "", None)
            for number in range(1, 1 + items)
        ]
        await batches.put(one.id, rows, 0.0)
    await batches.seal(one, ["m"] if items else [])
    while await batches.step(one.id, 0.0):
        pass


async def test_what_a_front_keeps_of_a_batch(store: Store) -> None:
    about = b'{"endpoint":"/v1/embeddings"}'
    await made(store, batch("1", about, key="k"))
    await made(store, batch("2"))
    for id, expected in (("1_batch", about), ("2_batch", b"")):
        items = (await store.job("a", id)).items
        assert items is not None
        assert items.about == expected
    assert [one.items and one.items.about for one in await store.listed("a", "", "", 10, "")] == [b"", b""]
    assert len(await claim(store, 5)) == 2
    same = await store.batches.begin(batch("3", about, key="k"), 1)
    assert same is not None
    assert same.items is not None
    assert same.items.about == about
    await store.cancel("a", "1_batch", 1.0)
    while await store.batches.step("1_batch", 1.0):
        pass
    await store.sweep(101.0)  # its results go
    record = await store.job("a", "1_batch")
    assert (record.state, record.items and record.items.about) == (State.CANCELLED, about)
    await store.delete("a", "1_batch")
    while await store.batches.step("1_batch", 102.0):
        pass
    assert await store.batches.listed("a", 10, "") == []


async def test_batches_of_which_a_front_keeps_something_are_listed(store: Store) -> None:
    for number in range(6):
        await made(store, batch(str(number), b"kept" if number % 2 else b""))
    await store.add(job("9"))
    await made(store, batch("7", b"kept", owner="b"))
    listed = store.batches.listed
    assert [one.id for one in await listed("a", 10, "")] == ["5_batch", "3_batch", "1_batch"]
    assert [one.id for one in await listed("a", 2, "")] == ["5_batch", "3_batch"]
    assert [one.id for one in await listed("a", 2, "3_batch")] == ["1_batch"]
    assert [one.id for one in await listed("b", 2, "")] == ["7_batch"]
    assert await listed("c", 2, "") == []


async def test_a_batch_without_items_has_failed(store: Store) -> None:
    await made(store, batch("1", b"why"), items=0)
    record = await store.job("a", "1_batch")
    assert record.items is not None
    assert (record.state, record.items.total, record.items.about) == (State.FAILED, 0, b"why")
    assert record.ended == 0.0
    assert await refused(store.retry("a", "1_batch", 1.0)) is Kind.CONFLICT
    assert await store.batches.answers("a", "1_batch", "") == []
