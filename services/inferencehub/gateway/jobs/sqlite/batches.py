"""The batches of a store in SQLite; see `jobs/batch.py` for what each method does."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from inferencehub.gateway.jobs.batch import (
    OPEN_S,
    PAGE_BYTES,
    PAGE_ITEMS,
    ItemAnswer,
    NewItem,
    batch_of,
    items_of,
    not_open,
)
from inferencehub.gateway.jobs.database import Database
from inferencehub.gateway.jobs.packing import packed_items
from inferencehub.gateway.jobs.record import JobRecord, NewJob, Result, State
from inferencehub.gateway.jobs.sqlite import counts, ends, telling, turns, webhooks
from inferencehub.gateway.jobs.sqlite.tables import RECORD, record_of
from inferencehub.gateway.jobs.store import CANCELLED, gone, key_reused

MOST_STEPPED = 500  # items of a step
SAME = f"SELECT digest, {RECORD} FROM jobs WHERE owner = ? AND key = ? AND key != ''"
ANSWERS = (
    "SELECT id, custom_id, state, error, status, lines, body FROM jobs JOIN items USING (id) LEFT JOIN results USING (id) "
    "WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
)


class SqliteBatches:
    """See the module's text; a `Batches`.

    Args:
        database: has them.
        queue: how many jobs wait.
    """

    def __init__(self, database: Database, queue: turns.Queue) -> None:
        self._database = database
        self._queue = queue

    async def begin(self, batch: NewJob, total: int) -> JobRecord | None:
        """See `Batches`."""

        def work(db: sqlite3.Connection) -> JobRecord | None:
            if same := same_as(db, batch):
                return same
            self._queue.check(total)
            db.execute(
                "INSERT INTO batches (id, doing, touched) VALUES (?, 'open', ?)", (batch.id, batch.created)
            )
            return None

        return await self._database.do(work)

    async def put(self, id: str, items: Sequence[NewItem], now: float) -> None:
        """See `Batches`."""
        items = await packed_items(items)
        waiting = sum(one.refusal is None for one in items)

        def work(db: sqlite3.Connection) -> None:
            check_open(db, id)
            self._queue.check(waiting)
            query = "UPDATE batches SET total = total + ?, touched = ? WHERE id = ?"
            db.execute(query, (len(items), now, id))
            for one in items:
                put(db, one, now)
            self._queue.waiting += waiting

        await self._database.do(work)

    async def seal(self, batch: NewJob, models: Sequence[str]) -> JobRecord:
        """See `Batches`."""

        def work(db: sqlite3.Connection) -> JobRecord:
            same = same_as(db, batch)
            if same is None:
                check_open(db, batch.id)
                turns.add(db, batch, held=True)
                if batch.webhook is not None:
                    webhooks.add(db, batch.id, batch.webhook)
                db.execute("UPDATE jobs SET lane = '' WHERE id = ?", (batch.id,))
                db.execute("UPDATE batches SET models = ? WHERE id = ?", (" ".join(models), batch.id))
            counts.change(db, batch.id, "release" if same is None else "forget")
            return same or counts.record(db, batch.owner, batch.id)

        return await self._database.do(work)

    async def abandon(self, id: str) -> None:
        """See `Batches`."""
        query = "UPDATE batches SET doing = 'forget' WHERE id = ? AND doing = 'open'"
        await self._database.do(lambda db: db.execute(query, (id,)).rowcount)

    async def step(self, id: str, now: float) -> bool:
        """See `Batches`."""
        return await self._database.do(lambda db: step(db, id, now))

    async def answers(self, owner: str, id: str, after: str) -> list[ItemAnswer]:
        """See `Batches`."""
        first, last = items_of(id)

        def work(db: sqlite3.Connection) -> list[ItemAnswer]:
            there = counts.record(db, owner, id)
            if db.execute("SELECT gone FROM jobs WHERE id = ?", (id,)).fetchone() != (0,):
                raise gone(there)
            found, size = [], 0
            for row in db.execute(ANSWERS, (after or first, last, PAGE_ITEMS)):
                item, custom_id, state, error, status, lines, body = row
                result = None if body is None else Result(status, lines, body)
                found.append(ItemAnswer(item, custom_id, State(state), error, result))
                size += 0 if result is None else len(body)
                if size > PAGE_BYTES:
                    break
            return found

        return await self._database.do(work)

    async def listed(self, owner: str, most: int, before: str) -> list[JobRecord]:
        """See `Batches`."""
        query = (
            f"SELECT {RECORD} FROM jobs JOIN requests USING (id) WHERE owner = ? AND lane = '' AND data != x'' "
            "AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?"
        )
        values = (owner, before, before, most)
        return await self._database.do(
            lambda db: [counts.known(db, record_of(row)) for row in db.execute(query, values).fetchall()]
        )

    async def sweep(self, now: float) -> None:
        """Go on with what others have left, and forget batches whose items have stopped coming."""
        query = "SELECT id FROM batches WHERE doing NOT IN ('', 'open') OR (doing = 'open' AND touched <= ?)"
        late = "UPDATE batches SET doing = 'forget' WHERE doing = 'open' AND touched <= ?"

        def work(db: sqlite3.Connection) -> list[str]:
            db.execute(late, (now - OPEN_S,))
            return [id for (id,) in db.execute(query, (now - OPEN_S,))]

        for id in await self._database.do(work):
            while await self.step(id, now):
                pass


def same_as(db: sqlite3.Connection, job: NewJob) -> JobRecord | None:
    """The job that its owner has with the key of another one.

    Raises:
        HubError: KEY_REUSED if it has another digest.
    """
    same = db.execute(SAME, (job.owner, job.key)).fetchone() if job.key else None
    if same is None:
        return None
    if same[0] != job.digest:
        raise key_reused(job.key, same[1])
    return counts.known(db, record_of(same[1:]))


def check_open(db: sqlite3.Connection, id: str) -> None:
    """Check that a batch is open.

    Raises:
        HubError: NOT_READY if it is not.
    """
    if db.execute("SELECT 1 FROM batches WHERE id = ? AND doing = 'open'", (id,)).fetchone() is None:
        raise not_open()


def put(db: sqlite3.Connection, item: NewItem, now: float) -> None:
    """Keep an item, which may not run yet."""
    job, refusal = item.job, item.refusal
    turns.add(db, job, held=True)
    db.execute("INSERT INTO items VALUES (?, ?)", (job.id, item.custom_id))
    if refusal is not None:
        db.execute("DELETE FROM requests WHERE id = ?", (job.id,))
        db.execute("INSERT INTO results VALUES (?, ?, ?)", (job.id, refusal.lines, refusal.body))
        ends.end(db, job.id, State.FAILED, item.error, now, refusal.status)


def step(db: sqlite3.Connection, id: str, now: float) -> bool:
    """See `Batches.step`."""
    query = "SELECT doing, cursor FROM batches WHERE id = ? AND doing NOT IN ('', 'open')"
    row = db.execute(query, (id,)).fetchone()
    if row is None:
        return False
    doing, cursor = row
    first, last = items_of(id)
    query = "SELECT id, state, due, not_before FROM jobs WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
    items = db.execute(query, (cursor or first, last, MOST_STEPPED)).fetchall()
    for item, state, due, not_before in items:
        if doing == "release":
            if state == State.QUEUED and due < 0:
                turns.wait(db, item, not_before, now)
        else:
            step_item(db, doing, item, State(state), now)
    if len(items) == MOST_STEPPED:
        db.execute("UPDATE batches SET cursor = ? WHERE id = ?", (items[-1][0], id))
        return True
    db.execute("UPDATE batches SET doing = '' WHERE id = ?", (id,))
    if doing == "forget":
        ends.forget(db, id)
        db.execute("DELETE FROM batches WHERE id = ?", (id,))
    else:
        counts.close(db, id, now)
    return False


def step_item(db: sqlite3.Connection, doing: str, id: str, state: State, now: float) -> None:
    """Do with one item what is to be done with all of its batch."""
    if doing in ("forget", "drop"):
        ends.forget(db, id)
    elif doing == "cancel" and not state.ended:
        telling.forget(db, id)
        ends.end(db, id, State.CANCELLED, CANCELLED, now)
    elif doing == "retry" and state.ended and kept(db, id):
        counts.count(db, batch_of(id), state, -1)
        ends.retry(db, id, now)


def kept(db: sqlite3.Connection, id: str) -> bool:
    """Whether the request of a job is there; that of one that succeeded is not."""
    return db.execute("SELECT 1 FROM requests WHERE id = ?", (id,)).fetchone() is not None
