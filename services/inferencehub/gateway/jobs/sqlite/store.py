"""The store in a file of SQLite; see `jobs/store.py` for what each method does."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from inferencehub.gateway.jobs.batch import is_batch
from inferencehub.gateway.jobs.condition import Condition
from inferencehub.gateway.jobs.database import Database
from inferencehub.gateway.jobs.files import MOST_BYTES
from inferencehub.gateway.jobs.packing import (
    fitting,
    packed_job,
    packed_result,
    unpacked_claims,
    unpacked_result,
)
from inferencehub.gateway.jobs.record import Claim, JobRecord, NewJob, Place, Result, State, lane_of
from inferencehub.gateway.jobs.sqlite import counts, ends, telling, turns, webhooks
from inferencehub.gateway.jobs.sqlite.batches import SqliteBatches, same_as
from inferencehub.gateway.jobs.sqlite.counts import record
from inferencehub.gateway.jobs.sqlite.files import SqliteFiles
from inferencehub.gateway.jobs.sqlite.quotas import QUOTAS, SqliteQuotas
from inferencehub.gateway.jobs.sqlite.tables import CHANGES, RECORD, SCHEMA, record_of
from inferencehub.gateway.jobs.sqlite.turns import Queue
from inferencehub.gateway.jobs.store import (
    CANCELLED,
    Attempt,
    Waiting,
    gone,
    not_to_retry,
)
from inferencehub.gateway.jobs.wish_table import WISHES, WishTable

FARTHEST = 1000  # a place beyond is not counted: each question would cost as much as the queue is long


class SqliteStore:
    """See the module's text; a `Store`.

    Args:
        file: the path of its file.
        most: jobs that may wait.
        files_bytes: of the files of an owner.
    """

    durability = "local"

    def __init__(self, file: str, most: int, files_bytes: int = MOST_BYTES) -> None:
        self._queue = Queue(most)
        self._database = Database(file, f"{SCHEMA};{QUOTAS};{WISHES}", CHANGES)
        self.batches = SqliteBatches(self._database, self._queue)
        self.quotas = SqliteQuotas(self._database)
        self.wishes = WishTable(self._database)
        self.webhooks = webhooks.SqliteWebhooks(self._database)
        self.files = SqliteFiles(self._database, files_bytes)

    async def start(self) -> None:
        """See `Store`."""
        self._database.open()
        await self._database.do(self._begin)

    async def stop(self) -> None:
        """See `Store`."""
        await self._database.close()

    async def add(self, job: NewJob) -> JobRecord:
        """See `Store`."""
        job = await packed_job(job)

        def work(db: sqlite3.Connection) -> JobRecord:
            if same := same_as(db, job):
                return same
            self._queue.check()
            turns.add(db, job)
            if job.webhook is not None:
                webhooks.add(db, job.id, job.webhook)
            self._queue.waiting += 1
            return record(db, job.owner, job.id)

        return await self._database.do(work)

    async def claim(self, places: Mapping[str, Place], lease_s: float, now: float) -> list[Claim]:
        """See `Store`."""

        def work(db: sqlite3.Connection) -> list[Claim]:
            turns.move_due(db, now)
            return [
                claim
                for lane, place in places.items()
                for claim in turns.claim(db, lane, place, now + lease_s, now)
            ]

        claims = await self._database.do(work)
        self._queue.waiting -= len(claims)
        most = fitting(claims)
        for one in claims[most:]:
            await self.put_back(one.id, one.attempt, now, 0, 0, now)
        return await unpacked_claims(claims[:most])

    async def renew(self, attempts: Sequence[Attempt], lease_s: float, now: float) -> set[Attempt]:
        """See `Store`."""

        def work(db: sqlite3.Connection) -> set[Attempt]:
            query = "UPDATE jobs SET lease = ? WHERE id = ? AND attempts = ? AND state = 'running'"
            return {one for one in attempts if db.execute(query, (now + lease_s, *one)).rowcount}

        return await self._database.do(work)

    async def finish(
        self, id: str, attempt: int, state: State, error: str, result: Result, now: float
    ) -> bool:
        """See `Store`."""
        kept = await packed_result(result)
        return await self._database.do(lambda db: ends.finish(db, id, attempt, state, error, kept, now))

    async def put_back(
        self, id: str, attempt: int, not_before: float, lost: int, refused: int, now: float
    ) -> None:
        """See `Store`."""
        await self._database.do(lambda db: ends.put_back(db, id, attempt, not_before, lost, refused, now))

    async def tell(self, id: str, attempt: int, at: int, data: bytes, progress: float | None) -> int:
        """See `Store`."""
        return await self._database.do(lambda db: telling.tell(db, id, attempt, at, data, progress))

    async def told(self, owner: str, id: str, attempt: int, after: int, most: int) -> bytes:
        """See `Store`."""
        return await self._database.do(lambda db: telling.told(db, owner, id, attempt, after, most))

    async def job(self, owner: str, id: str) -> JobRecord:
        """See `Store`."""
        return await self._database.do(lambda db: placed(db, owner, id))

    async def result(self, owner: str, id: str) -> Result:
        """See `Store`."""

        def work(db: sqlite3.Connection) -> Result:
            there = record(db, owner, id)
            row = db.execute("SELECT lines, body FROM results WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise gone(there)
            return Result(there.status, *row)

        return await unpacked_result(await self._database.do(work))

    async def listed(self, owner: str, state: str, model: str, most: int, before: str) -> list[JobRecord]:
        """See `Store`."""
        query = (
            f"SELECT {RECORD} FROM jobs WHERE owner = ? AND (? = '' OR state = ?) AND (? = '' OR model = ?) "
            "AND (? = '' OR id < ?) AND instr(id, '-') = 0 ORDER BY id DESC LIMIT ?"
        )
        values = (owner, state, state, model, model, before, before, most)
        return await self._database.do(
            lambda db: [
                counts.known(db, record_of(row), brief=True) for row in db.execute(query, values).fetchall()
            ]
        )

    async def cancel(self, owner: str, id: str, now: float) -> JobRecord:
        """See `Store`."""

        def work(db: sqlite3.Connection) -> JobRecord:
            if record(db, owner, id).state.ended:
                pass
            elif is_batch(id):
                counts.change(db, id, "cancel")
            else:
                telling.forget(db, id)
                ends.end(db, id, State.CANCELLED, CANCELLED, now)
            return record(db, owner, id)

        return await self._database.do(work)

    async def retry(self, owner: str, id: str, now: float) -> JobRecord:
        """See `Store`."""

        def work(db: sqlite3.Connection) -> JobRecord:
            there = record(db, owner, id)
            if is_batch(id):
                counts.retry(db, there, self._queue.check)
                return record(db, owner, id)
            kept = db.execute("SELECT 1 FROM requests WHERE id = ?", (id,)).fetchone()
            if not there.state.ended or there.state is State.SUCCEEDED or kept is None:
                raise not_to_retry(there)
            ends.retry(db, id, now)
            webhooks.withdraw(db, id)
            return record(db, owner, id)

        return await self._database.do(work)

    async def delete(self, owner: str, id: str) -> None:
        """See `Store`."""

        def work(db: sqlite3.Connection) -> None:
            record(db, owner, id)
            ends.forget(db, id)
            if is_batch(id):
                counts.change(db, id, "forget")

        await self._database.do(work)

    async def sweep(self, now: float) -> int:
        """See `Store`."""
        lost = await self._database.do(lambda db: ends.take_back(db, now))
        while await self._database.do(lambda db: ends.give_up(db, now)):
            pass
        await self.batches.sweep(now)
        await self.files.sweep(now)
        return lost

    async def waiting(self, now: float) -> dict[str, Waiting]:
        """See `Store`."""
        query = (
            "SELECT lane, count(*), min(created) FROM jobs WHERE state = 'queued' AND due = 1 GROUP BY lane"
        )

        def work(db: sqlite3.Connection) -> dict[str, Waiting]:
            self._count(db)
            turns.move_due(db, now)
            return {lane: Waiting(jobs, oldest) for lane, jobs, oldest in db.execute(query)}

        return await self._database.do(work)

    async def condition(self) -> Condition:
        """See `Store`."""
        return await self._database.condition()

    def _begin(self, db: sqlite3.Connection) -> None:
        """Count, and end all leases: the file is for one gateway, so who had them is gone."""
        db.execute("UPDATE jobs SET lease = 0 WHERE state = 'running' AND lane != ''")
        db.execute("UPDATE batches SET doing = 'forget' WHERE doing = 'open'")
        self._count(db)

    def _count(self, db: sqlite3.Connection) -> None:
        query = "SELECT count(*) FROM jobs WHERE state = 'queued' AND lane != ''"
        (self._queue.waiting,) = db.execute(query).fetchone()


def placed(db: sqlite3.Connection, owner: str, id: str) -> JobRecord:
    """An owner's job, with its place if it waits.

    Raises:
        HubError: NOT_FOUND.
    """
    found = record(db, owner, id)
    if found.state is not State.QUEUED or is_batch(id):
        return found
    query = (
        f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {turns.DUE} "
        "AND (priority > ? OR (priority = ? AND (created, id) < (?, ?))) LIMIT ?)"
    )
    values = (found.priority, found.priority, found.created, id, FARTHEST)
    lane = lane_of(found.model, found.version)
    return msgspec.structs.replace(found, place=db.execute(query, (lane, owner, *values)).fetchone()[0])
