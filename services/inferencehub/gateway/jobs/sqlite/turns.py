"""Jobs that wait, and whose turn it is."""

from __future__ import annotations

import sqlite3

from inferencehub.gateway.jobs.batch import batch_of
from inferencehub.gateway.jobs.record import Claim, NewJob, Place
from inferencehub.gateway.jobs.sqlite import counts
from inferencehub.gateway.jobs.sqlite.tables import HELD
from inferencehub.gateway.jobs.store import too_many

MOST_MOVED = 1000  # at a time
DUE = "state = 'queued' AND due = 1 AND lane = ? AND owner = ?"
NEXT = (
    "SELECT id, attempts + 1, caller, tenant, owner, weight, lane, rows, once, refusals, losses, data "
    f"FROM jobs JOIN requests USING (id) WHERE {DUE} ORDER BY priority DESC, created, id LIMIT 1"
)


class Queue:
    """How many jobs wait: those at the last count, and those that came since.

    Args:
        most: that may.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting = 0

    def check(self, more: int = 1) -> None:
        """Check that so many more may wait.

        Raises:
            HubError: BUSY if not.
        """
        if self.waiting + more > self.most:
            raise too_many(self.most)


def add(db: sqlite3.Connection, job: NewJob, held: bool = False) -> None:
    """Keep a new job; one that is held does not wait yet."""
    expires = HELD if held else max(job.created, job.not_before) + job.keep_s
    db.execute(
        "INSERT INTO jobs (id, owner, caller, tenant, model, version, lane, rows, key, digest, priority, weight, once, "
        "keep_s, created, not_before, expires, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
        (
            *(job.id, job.owner, job.caller, job.tenant, job.model, job.version, job.lane, job.rows),
            *(job.key, job.digest, job.priority, job.weight, job.keep_s),
            *(job.created, job.not_before, expires, -int(held)),
        ),
    )
    db.execute("INSERT INTO requests VALUES (?, ?)", (job.id, job.request))
    if not held and job.not_before <= job.created:
        enter(db, job.id)


def wait(db: sqlite3.Connection, id: str, not_before: float, now: float) -> None:
    """Let a job wait again, with its time to wait begun anew."""
    db.execute(
        "UPDATE jobs SET state = 'queued', due = 0, gone = 0, not_before = ?, expires = ? + keep_s WHERE id = ?",
        (not_before, max(not_before, now), id),
    )
    if not_before <= now:
        enter(db, id)


def enter(db: sqlite3.Connection, id: str) -> None:
    """A job may run. An owner who had none takes the turn of who is next, and makes up for nothing."""
    query = "UPDATE jobs SET due = 1 WHERE id = ? RETURNING lane, owner"
    ((lane, owner),) = db.execute(query, (id,)).fetchall()
    db.execute(
        "INSERT OR IGNORE INTO flows SELECT ?, ?, coalesce(min(turn), 0) FROM flows WHERE lane = ?",
        (lane, owner, lane),
    )


def move_due(db: sqlite3.Connection, now: float) -> None:
    """Let those jobs wait for their turn whose time has come."""
    query = "SELECT id FROM jobs WHERE state = 'queued' AND due = 0 AND not_before <= ? LIMIT ?"
    for (id,) in db.execute(query, (now, MOST_MOVED)).fetchall():
        enter(db, id)


def claim(db: sqlite3.Connection, lane: str, place: Place, lease: float, now: float) -> list[Claim]:
    """Take jobs of a lane until they have so many rows, with leases until `lease`."""
    claims: list[Claim] = []
    most = place.rows
    while most > 0:
        query = "SELECT owner FROM flows WHERE lane = ? ORDER BY turn, owner LIMIT 1"
        next = db.execute(query, (lane,)).fetchone()
        if next is None:
            break
        (owner,) = next
        row = db.execute(NEXT, (lane, owner)).fetchone()
        if row is None:  # none of the owner's is left
            db.execute("DELETE FROM flows WHERE lane = ? AND owner = ?", (lane, owner))
            continue
        one = Claim(*row)._replace(once=place.once)
        query = (
            "UPDATE jobs SET state = 'running', due = 0, attempts = ?, started = ?, lease = ?, once = ? "
            "WHERE id = ?"
        )
        db.execute(query, (one.attempt, now, lease, one.once, one.id))
        if batch := batch_of(one.id):
            counts.started(db, batch, now)
        query = "UPDATE flows SET turn = turn + ? WHERE lane = ? AND owner = ?"
        db.execute(query, (one.rows / one.weight, lane, owner))
        claims.append(one)
        most -= one.rows
    return claims
