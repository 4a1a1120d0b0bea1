"""How batches stand: the counts of their items, and what is to be done with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from inferencehub.gateway.jobs.batch import items_of, outcome
from inferencehub.gateway.jobs.record import JobRecord, State
from inferencehub.gateway.jobs.sqlite import webhooks
from inferencehub.gateway.jobs.sqlite.tables import COUNTS, HELD, RECORD, record_of, with_items
from inferencehub.gateway.jobs.store import no_job, not_to_retry

ENDS = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED)  # as the columns


def record(db: sqlite3.Connection, owner: str, id: str) -> JobRecord:
    """An owner's job, without its place.

    Raises:
        HubError: NOT_FOUND.
    """
    row = db.execute(f"SELECT {RECORD} FROM jobs WHERE id = ? AND owner = ?", (id, owner)).fetchone()
    if row is None:
        raise no_job(id)
    return known(db, record_of(row))


def known(db: sqlite3.Connection, record: JobRecord, brief: bool = False) -> JobRecord:
    """A record, with what is known of its items and its webhook; `brief` as for `with_items`."""
    return webhooks.attached(db, with_items(db, record, brief))


def started(db: sqlite3.Connection, batch: str, now: float) -> None:
    """An item runs."""
    query = "UPDATE jobs SET state = 'running', started = ?, lease = ? WHERE id = ? AND state = 'queued'"
    db.execute(query, (now, HELD, batch))


def count(db: sqlite3.Connection, batch: str, state: State, by: int) -> None:
    """So many more items have ended in a state."""
    db.execute(
        "UPDATE batches SET succeeded = succeeded + ?, failed = failed + ?, cancelled = cancelled + ?, "
        "expired = expired + ? WHERE id = ?",
        (*[by * (state is one) for one in ENDS], batch),
    )


def ended(db: sqlite3.Connection, batch: str, state: State, now: float) -> None:
    """An item has ended."""
    count(db, batch, state, 1)
    close(db, batch, now)


def close(db: sqlite3.Connection, batch: str, now: float) -> None:
    """The batch has ended, if all its items have and nothing more is to be done with them."""
    query = (
        f"SELECT stopped, total, {COUNTS} FROM batches WHERE id = ? AND doing = '' "
        "AND total = succeeded + failed + cancelled + expired"
    )
    row = db.execute(query, (batch,)).fetchone()
    if row is not None:
        stopped, total, succeeded, failed, _, expired = row
        state = outcome(bool(stopped), total, succeeded, failed, expired)
        query = "UPDATE jobs SET state = ?, ended = ?, expires = ? + keep_s WHERE id = ? AND ended IS NULL"
        if db.execute(query, (state.value, now, now, batch)).rowcount:
            webhooks.ended(db, batch, now)


def change(db: sqlite3.Connection, batch: str, doing: str) -> None:
    """Note what is to be done with all items, in place of what was to be done before."""
    stopped = {"cancel": "1", "retry": "0"}.get(doing, "stopped")
    db.execute(f"UPDATE batches SET doing = ?, cursor = '', stopped = {stopped} WHERE id = ?", (doing, batch))


def retry(db: sqlite3.Connection, there: JobRecord, check: Callable[[int], None]) -> None:
    """Note that the items of a batch that failed, expired or were cancelled wait again; `check` is told how many.

    Raises:
        HubError: CONFLICT if the batch has not ended, or no such item has its request; BUSY if they are too many.
    """
    query = "SELECT count(*) FROM requests WHERE id > ? AND id < ?"
    (kept,) = db.execute(query, items_of(there.id)).fetchone()
    if not there.state.ended or not kept:
        raise not_to_retry(there)
    check(kept)
    query = "UPDATE jobs SET state = 'queued', started = NULL, ended = NULL, expires = ? WHERE id = ?"
    db.execute(query, (HELD, there.id))
    webhooks.withdraw(db, there.id)
    change(db, there.id, "retry")


def over(db: sqlite3.Connection, batch: str, gone: int, now: float) -> None:
    """The time of a batch's results is over, or that in which it is known."""
    change(db, batch, "forget" if gone else "drop")
    query = "UPDATE jobs SET gone = 1, expires = CASE WHEN gone THEN ? ELSE ? + keep_s END WHERE id = ?"
    db.execute(query, (HELD, now, batch))
