"""The batches of a store in Valkey or Redis; see `jobs/batch.py` for what each method does, and `batches.lua` for how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferencehub.gateway.jobs.batch import OPEN_S, PAGE_BYTES, PAGE_ITEMS, ItemAnswer, NewItem, not_open
from inferencehub.gateway.jobs.packing import packed_items
from inferencehub.gateway.jobs.record import JobRecord, NewJob, Result, State
from inferencehub.gateway.jobs.store import CANCELLED, gone, key_reused, too_many
from inferencehub.gateway.jobs.valkey.rows import fields_of, name, record_of, there
from inferencehub.gateway.jobs.valkey.server import Server

MOST_PUT = 100  # items of a step: each is some dozens of arguments, and a script takes 8,000


class ValkeyBatches:
    """See the module's text; a `Batches`.

    Args:
        server: has them.
        most: jobs that may wait.
    """

    def __init__(self, server: Server, most: int) -> None:
        self._server = server
        self._most = most

    async def begin(self, batch: NewJob, total: int) -> JobRecord | None:
        """See `Batches`."""
        step = (self._most, batch.created, name(batch.owner), name(batch.key), batch.digest, batch.id, total)
        said, *found = await self._server.do("begin", *step)
        check_said(said, found, batch, self._most)
        return record_of(found) if found else None

    async def put(self, id: str, items: Sequence[NewItem], now: float) -> None:
        """See `Batches`."""
        items = await packed_items(items)
        for at in range(0, len(items), MOST_PUT):
            rows = [row_of(one) for one in items[at : at + MOST_PUT]]
            flat = [part for row in rows for part in row]
            waiting = sum(one.refusal is None for one in items[at : at + MOST_PUT])
            said = await self._server.do("put", self._most, now, id, waiting, len(rows[0]), *flat)
            check_said(said, (), items[0].job, self._most)

    async def seal(self, batch: NewJob, models: Sequence[str]) -> JobRecord:
        """See `Batches`."""
        owner, key = name(batch.owner), name(batch.key)
        fields = [*fields_of(batch), "l", "", "lane", ""]
        step = (owner, key, batch.digest, batch.id, " ".join(models), batch.request, *fields)
        said, *found = await self._server.do("seal", *step)
        check_said(said, found, batch, self._most)
        return record_of(found)

    async def abandon(self, id: str) -> None:
        """See `Batches`."""
        await self._server.do("abandon", id)

    async def step(self, id: str, now: float) -> bool:
        """See `Batches`."""
        return bool(await self._server.do("step", now, id, CANCELLED))

    async def answers(self, owner: str, id: str, after: str) -> list[ItemAnswer]:
        """See `Batches`."""
        number = int(after.rpartition("-")[2]) if after else 0
        found = await self._server.do("answers", name(owner), id, number, PAGE_ITEMS, PAGE_BYTES)
        record = there(id, found and found[0])
        if found[1] == 0:
            raise gone(record)
        return [answer_of(row) for row in found[1]]

    async def listed(self, owner: str, most: int, before: str) -> list[JobRecord]:
        """See `Batches`."""
        found: list[JobRecord] = []
        while True:
            last, rows = await self._server.do("batches", name(owner), most - len(found), before)
            found += map(record_of, rows)
            if not last or len(found) == most:
                return found
            before = last.decode()

    async def sweep(self, now: float) -> None:
        """Go on with what others have left, and forget batches whose items have stopped coming."""
        for id in await self._server.do("changes", now - OPEN_S):
            while await self.step(id.decode(), now):
                pass


def check_said(said: bytes, found: Sequence[Any], job: NewJob, most: int) -> None:
    """Check the script's answer to a new job or batch.

    Raises:
        HubError: KEY_REUSED, BUSY or NOT_READY, as it says.
    """
    if said == b"reused":
        raise key_reused(job.key, found[0].decode())
    if said == b"full":
        raise too_many(most)
    if said == b"late":
        raise not_open()


def row_of(item: NewItem) -> list[bytes | str | float]:
    """An item as the script takes it."""
    job = item.job
    status, lines, body = item.refusal or Result(0, b"", b"")
    owner = name(job.owner)
    return [job.id, item.custom_id, owner, item.error, status, lines, body, job.request, *fields_of(job)]


def answer_of(row: Sequence[Any]) -> ItemAnswer:
    """A row as an answer."""
    id, custom_id, state, error, status, lines, body = row
    result = None if body is None else Result(int(status), lines, body)
    return ItemAnswer(id.decode(), custom_id.decode(), State(state.decode()), error.decode(), result)
