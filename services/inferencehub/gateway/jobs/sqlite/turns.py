"""Jobs that wait, and whose turn it is."""

from __future__ import annotations

import sqlite3

from inferencehub.gateway.jobs.record import Claim, NewJob

NEXT = (
    "SELECT id, attempts + 1, caller, tenant, owner, weight, model, data, once, refusals, losses "
    "FROM jobs JOIN requests USING (id) WHERE state = 'queued' AND model = ? AND owner = ? AND not_before <= ? "
    "ORDER BY priority DESC, id LIMIT ?"
)


def add(db: sqlite3.Connection, job: NewJob) -> None:
    """Keep a new job."""
    db.execute(
        "INSERT INTO jobs (id, owner, caller, tenant, model, version, key, digest, priority, weight, once, keep_s, "
        "created, not_before, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(job.id, job.owner, job.caller, job.tenant, job.model, job.version, job.key, job.digest),
            *(job.priority, job.weight, job.once, job.keep_s),
            *(job.created, job.not_before, max(job.created, job.not_before) + job.keep_s),
        ),
    )
    db.execute("INSERT INTO requests VALUES (?, ?)", (job.id, job.request))
    enter(db, job.model, job.owner)


def wait(db: sqlite3.Connection, id: str, not_before: float) -> None:
    """Let a job wait again."""
    db.execute("UPDATE jobs SET state = 'queued', not_before = ? WHERE id = ?", (not_before, id))
    enter(db, *db.execute("SELECT model, owner FROM jobs WHERE id = ?", (id,)).fetchone())


def enter(db: sqlite3.Connection, model: str, owner: str) -> None:
    """An owner has a job waiting. One who had none takes the turn of who is next, and makes up for nothing."""
    db.execute(
        "INSERT OR IGNORE INTO flows SELECT ?, ?, coalesce(min(turn), 0) FROM flows WHERE model = ?",
        (model, owner, model),
    )


def claim(db: sqlite3.Connection, model: str, most: int, lease: float, now: float) -> list[Claim]:
    """Take at most so many jobs of a model, with leases until `lease`."""
    claims: list[Claim] = []
    while len(claims) < most:
        owners = db.execute(
            "SELECT owner FROM flows WHERE model = ? ORDER BY turn, owner", (model,)
        ).fetchall()
        left = most - len(claims) if len(owners) == 1 else 1
        taken = next(
            (found for (owner,) in owners if (found := take(db, model, owner, left, lease, now))), []
        )
        if not taken:
            break
        claims += taken
    return claims


def take(db: sqlite3.Connection, model: str, owner: str, most: int, lease: float, now: float) -> list[Claim]:
    """Take an owner's next jobs."""
    claims = [Claim(*row) for row in db.execute(NEXT, (model, owner, now, most))]
    for one in claims:
        db.execute(
            "UPDATE jobs SET state = 'running', attempts = ?, started = ?, lease = ? WHERE id = ?",
            (one.attempt, now, lease, one.id),
        )
    turn = sum(1 / one.weight for one in claims)
    if turn:
        db.execute("UPDATE flows SET turn = turn + ? WHERE model = ? AND owner = ?", (turn, model, owner))
    if len(claims) < most:
        query = "SELECT 1 FROM jobs WHERE state = 'queued' AND model = ? AND owner = ? LIMIT 1"
        if db.execute(query, (model, owner)).fetchone() is None:
            db.execute("DELETE FROM flows WHERE model = ? AND owner = ?", (model, owner))
    return claims
