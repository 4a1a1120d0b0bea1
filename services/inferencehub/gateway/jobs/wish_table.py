"""The wishes of a store in a file of SQLite."""

from __future__ import annotations

import sqlite3
from time import time

from inferencehub.gateway.jobs.database import Database
from inferencehub.gateway.routing.control.wishes import Known, Wish

# Of each model the last wish; `wish_clock` has one row, with the last revision or mark that was given.
WISHES = """
CREATE TABLE IF NOT EXISTS wishes (
    model TEXT PRIMARY KEY, revision INTEGER NOT NULL, loaded INTEGER NOT NULL, config TEXT NOT NULL, mark INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS wish_clock (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL) STRICT
"""


class WishTable:
    """See the module's text; it is `Wishes`.

    Args:
        database: has them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        """See `Wishes`."""
        return await self._database.do(tick)

    async def keep(self, wish: Wish) -> None:
        """See `Wishes`."""
        query = (
            "INSERT INTO wishes VALUES (?, ?, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET (revision, loaded, config, mark) = "
            "(excluded.revision, excluded.loaded, excluded.config, excluded.mark) WHERE revision < excluded.revision"
        )
        await self._database.do(lambda db: db.execute(query, (*wish, tick(db))).rowcount)

    async def read(self, mark: int) -> Known | None:
        """See `Wishes`."""

        def work(db: sqlite3.Connection) -> Known | None:
            (now,) = db.execute("SELECT coalesce(max(mark), 0) FROM wishes").fetchone()
            if now == mark:
                return None
            rows = db.execute("SELECT model, revision, loaded, config FROM wishes")
            wishes = [Wish(model, revision, bool(loaded), config) for model, revision, loaded, config in rows]
            return Known(now, {wish.model: wish for wish in wishes})

        return await self._database.do(work)


def tick(db: sqlite3.Connection) -> int:
    """A number that is higher than all before: microseconds of Unix time, or the one behind the last."""
    query = "INSERT INTO wish_clock VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET last = max(last + 1, excluded.last) RETURNING last"
    (now,) = db.execute(query, (int(time() * 1e6),)).fetchone()
    return int(now)
