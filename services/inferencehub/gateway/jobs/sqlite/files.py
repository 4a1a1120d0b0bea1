"""The files of a store in SQLite; see `jobs/files.py` for what each method does."""

from __future__ import annotations

import sqlite3

from inferencehub.gateway.jobs.database import Database
from inferencehub.gateway.jobs.files import MOST_FILES, StoredFile, no_file, no_room, unpacked_file
from inferencehub.gateway.jobs.packing import packed

KNOWN = "id, name, size, created, expires"


class SqliteFiles:
    """See the module's text; a `Files`.

    Args:
        database: has them.
        most_bytes: of the files of an owner.
    """

    def __init__(self, database: Database, most_bytes: int) -> None:
        self._database = database
        self._most_bytes = most_bytes

    async def add(self, owner: str, file: StoredFile, data: bytes) -> None:
        """See `Files`."""
        kept = await packed(data)
        query = "SELECT count(*), coalesce(sum(size), 0) FROM files WHERE owner = ? AND expires > ?"

        def work(db: sqlite3.Connection) -> None:
            files, size = db.execute(query, (owner, file.created)).fetchone()
            if files >= MOST_FILES or size + file.size > self._most_bytes:
                raise no_room(files, size, file.size, self._most_bytes)
            row = (file.id, owner, file.name, file.size, file.created, file.expires, kept)
            db.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        await self._database.do(work)

    async def file(self, owner: str, id: str, now: float) -> StoredFile:
        """See `Files`."""
        query = f"SELECT {KNOWN} FROM files WHERE id = ? AND owner = ? AND expires > ?"

        def work(db: sqlite3.Connection) -> StoredFile:
            row = db.execute(query, (id, owner, now)).fetchone()
            if row is None:
                raise no_file(id)
            return StoredFile(*row)

        return await self._database.do(work)

    async def data(self, owner: str, id: str, now: float) -> bytes:
        """See `Files`."""
        query = "SELECT data FROM files WHERE id = ? AND owner = ? AND expires > ?"

        def work(db: sqlite3.Connection) -> bytes:
            row = db.execute(query, (id, owner, now)).fetchone()
            if row is None:
                raise no_file(id)
            return bytes(row[0])

        return await unpacked_file(id, await self._database.do(work))

    async def listed(self, owner: str, now: float) -> list[StoredFile]:
        """See `Files`."""
        query = f"SELECT {KNOWN} FROM files WHERE owner = ? AND expires > ? ORDER BY id DESC"
        return await self._database.do(
            lambda db: [StoredFile(*row) for row in db.execute(query, (owner, now))]
        )

    async def delete(self, owner: str, id: str, now: float) -> None:
        """See `Files`."""
        query = "DELETE FROM files WHERE id = ? AND owner = ? AND expires > ?"

        def work(db: sqlite3.Connection) -> None:
            if not db.execute(query, (id, owner, now)).rowcount:
                raise no_file(id)

        await self._database.do(work)

    async def sweep(self, now: float) -> None:
        """Forget files whose time is over."""
        query = "DELETE FROM files WHERE expires <= ?"
        await self._database.do(lambda db: db.execute(query, (now,)).rowcount)
