"""The quotas of a store in a file of SQLite."""

from __future__ import annotations

import sqlite3

from inferencehub.gateway.calls.limits.quotas import Answer, Ask, granted
from inferencehub.gateway.jobs.database import Database

# Of each quota what is used, and of each holder of a lease its last ask.
QUOTAS = """
CREATE TABLE IF NOT EXISTS quotas (
    day INTEGER NOT NULL, name TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (day, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quota_asks (
    day INTEGER NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, number INTEGER NOT NULL, granted INTEGER NOT NULL,
    PRIMARY KEY (day, name, holder)
) STRICT, WITHOUT ROWID
"""


class SqliteQuotas:
    """See the module's text; it is `Quotas`.

    Args:
        database: has them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, ask: Ask) -> Answer:
        """See `Quotas`."""
        return await self._database.do(lambda db: lease(db, ask))

    async def used(self, quota: str, day: int) -> int:
        """See `Quotas`."""
        return await self._database.do(lambda db: used(db, quota, day))


def lease(db: sqlite3.Connection, ask: Ask) -> Answer:
    """See `Quotas.lease`."""
    before = used(db, ask.quota, ask.day)
    query = "SELECT number, granted FROM quota_asks WHERE day = ? AND name = ? AND holder = ?"
    row = db.execute(query, (ask.day, ask.quota, ask.holder)).fetchone()
    if row is not None and row[0] >= ask.number:
        return Answer(row[1] if row[0] == ask.number else 0, before)
    now = max(0, before - ask.back) + ask.owed
    given = granted(ask, now)
    db.execute("INSERT OR REPLACE INTO quotas VALUES (?, ?, ?)", (ask.day, ask.quota, now + given))
    asked = (ask.day, ask.quota, ask.holder, ask.number, given)
    db.execute("INSERT OR REPLACE INTO quota_asks VALUES (?, ?, ?, ?, ?)", asked)
    for table in ("quotas", "quota_asks"):
        db.execute(f"DELETE FROM {table} WHERE day < ?", (ask.day - 1,))
    return Answer(given, now + given)


def used(db: sqlite3.Connection, quota: str, day: int) -> int:
    """See `Quotas.used`."""
    row = db.execute("SELECT used FROM quotas WHERE day = ? AND name = ?", (day, quota)).fetchone()
    return int(row[0]) if row is not None else 0
