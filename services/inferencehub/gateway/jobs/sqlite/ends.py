"""How jobs end, or come back, and what is forgotten when."""

from __future__ import annotations

import sqlite3

from inferencehub.gateway.jobs.batch import batch_of, is_batch
from inferencehub.gateway.jobs.record import Result, State
from inferencehub.gateway.jobs.sqlite import counts, telling, turns, webhooks
from inferencehub.gateway.jobs.sqlite.tables import HELD
from inferencehub.gateway.jobs.sqlite.telling import HOLDS
from inferencehub.gateway.jobs.store import LOST, MOST_LOSSES, ONCE, WAITED_TOO_LONG

MOST_OVER = 1000  # that are given up or forgotten at a time


def finish(
    db: sqlite3.Connection, id: str, attempt: int, state: State, error: str, result: Result, now: float
) -> bool:
    """Keep a result, if the attempt still holds its job. Nothing runs again what has succeeded."""
    held = db.execute(f"SELECT told FROM jobs WHERE {HOLDS}", (id, attempt)).fetchone()
    if held is None:
        return False
    if held[0]:
        db.execute("DELETE FROM told WHERE id = ?", (id,))
    if result.status:
        db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (id, result.lines, result.body))
    end(db, id, state, error, now, result.status, result.streamed)
    if state is State.SUCCEEDED:
        db.execute("DELETE FROM requests WHERE id = ?", (id,))
    return True


def end(
    db: sqlite3.Connection, id: str, state: State, error: str, now: float, status: int = 0, told: int = 0
) -> None:
    """A job has ended; from now on no attempt holds it. An item is kept as long as its batch."""
    db.execute(
        "UPDATE jobs SET state = ?, error = ?, status = ?, told = ?, ended = ?, due = 0, expires = ? + keep_s "
        "WHERE id = ?",
        (state.value, error, status, told, now, HELD if batch_of(id) else now, id),
    )
    if batch := batch_of(id):
        counts.ended(db, batch, state, now)
    else:
        webhooks.ended(db, id, now)


def put_back(
    db: sqlite3.Connection, id: str, attempt: int, not_before: float, lost: int, refused: int, now: float
) -> None:
    """Let the job of an attempt wait again, unless it was lost too often."""
    query = f"UPDATE jobs SET losses = losses + ?, refusals = refusals + ? WHERE {HOLDS} RETURNING losses"
    rows = db.execute(query, (lost, refused, id, attempt)).fetchall()
    if not rows:
        return
    telling.forget(db, id)
    if rows[0][0] >= MOST_LOSSES:
        end(db, id, State.FAILED, LOST, now)
    else:
        turns.wait(db, id, not_before, now)


def retry(db: sqlite3.Connection, id: str, now: float) -> None:
    """Let a job that has ended wait again, as if it were new."""
    db.execute("DELETE FROM results WHERE id = ?", (id,))
    telling.forget(db, id)
    db.execute(
        "UPDATE jobs SET refusals = 0, losses = 0, status = 0, error = '', started = NULL, ended = NULL WHERE id = ?",
        (id,),
    )
    turns.wait(db, id, now, now)


def forget(db: sqlite3.Connection, id: str) -> None:
    """Nothing is left of a job."""
    for table in ("jobs", "requests", "results", "told", "items" if batch_of(id) else "webhooks"):
        db.execute(f"DELETE FROM {table} WHERE id = ?", (id,))


def take_back(db: sqlite3.Connection, now: float) -> int:
    """Take the jobs back whose leases have ended; how many."""
    query = "SELECT id, attempts, once FROM jobs WHERE state = 'running' AND lease <= ?"
    lost = db.execute(query, (now,)).fetchall()
    for id, attempt, once in lost:
        if once:
            telling.forget(db, id)
            end(db, id, State.FAILED, ONCE, now)
        else:
            put_back(db, id, attempt, now, 1, 0, now)
    return len(lost)


def give_up(db: sqlite3.Connection, now: float) -> bool:
    """Give up what waited too long, and forget what is old; whether there may be more.

    A job is known for as long again as its result was kept, and again while its webhook is not delivered.
    """
    query = "SELECT id, state, gone FROM jobs WHERE state != 'running' AND expires <= ? LIMIT ?"
    over = db.execute(query, (now, MOST_OVER)).fetchall()
    for id, state, gone in over:
        if state == State.QUEUED:
            end(db, id, State.EXPIRED, WAITED_TOO_LONG, now)
        elif is_batch(id) and (not gone or not webhooks.owed(db, id, now)):
            counts.over(db, id, gone, now)
        elif gone and not webhooks.owed(db, id, now):
            forget(db, id)
        else:
            if not is_batch(id):  # what its front keeps is there as long as the batch is known
                for table in ("requests", "results"):
                    db.execute(f"DELETE FROM {table} WHERE id = ?", (id,))
            db.execute("UPDATE jobs SET gone = 1, told = 0, expires = ? + keep_s WHERE id = ?", (now, id))
    return len(over) == MOST_OVER
