"""What attempts tell before they end: their progress, and the beginning of their streams of answers."""

from __future__ import annotations

import sqlite3

from inferencehub.gateway.jobs.record import State
from inferencehub.gateway.jobs.store import MOST_TOLD, no_job

HOLDS = "id = ? AND attempts = ? AND state = 'running'"


def tell(db: sqlite3.Connection, id: str, attempt: int, at: int, data: bytes, progress: float | None) -> int:
    """Keep what an attempt tells; see `Store.tell`."""
    query = f"UPDATE jobs SET progress = coalesce(?, progress) WHERE {HOLDS} RETURNING told"
    rows: list[tuple[int]] = db.execute(query, (progress, id, attempt)).fetchall()
    if not rows:
        return -1
    ((size,),) = rows
    new = data[size - at :] if at <= size else b""
    if new:
        db.execute("INSERT INTO told VALUES (?, ?, ?)", (id, size, new))
        size += len(new)
        db.execute("UPDATE jobs SET told = ? WHERE id = ?", (size, id))
    return size


def told(db: sqlite3.Connection, owner: str, id: str, attempt: int, after: int, most: int) -> bytes:
    """What an attempt has told; see `Store.told`."""
    query = "SELECT state, attempts, told FROM jobs WHERE id = ? AND owner = ?"
    row = db.execute(query, (id, owner)).fetchone()
    if row is None:
        raise no_job(id)
    state, attempts, size = row
    if attempts != attempt or after >= size:
        return b""
    if State(state).ended:
        query = "SELECT substr(body, ?, ?) FROM results WHERE id = ?"
        ((found,),) = db.execute(query, (after + 1, most, id)).fetchall() or ((b"",),)
        return bytes(found)
    query = (
        "SELECT substr(data, max(0, ? - at) + 1, ?) FROM told "
        "WHERE id = ? AND at > ? AND at + length(data) > ? ORDER BY at"
    )
    parts, left = [], most
    for (part,) in db.execute(query, (after, most, id, after - MOST_TOLD, after)):
        parts.append(part[:left])
        left -= len(parts[-1])
        if not left:
            break
    return b"".join(parts)


def forget(db: sqlite3.Connection, id: str) -> None:
    """An attempt has no result: what it told goes."""
    db.execute("DELETE FROM told WHERE id = ?", (id,))
    db.execute("UPDATE jobs SET progress = NULL, told = 0 WHERE id = ?", (id,))
