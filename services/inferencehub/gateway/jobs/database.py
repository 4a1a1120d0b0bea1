"""A database of SQLite behind one thread. Works that wait together are one transaction: they share its write to the disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from shutil import disk_usage
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from inferencehub.core.files.watched import BadFile
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.condition import Condition

logger = logging.getLogger(__name__)

T = TypeVar("T")
MOST_AT_ONCE = 1000  # works of a transaction


class Asked(NamedTuple):
    """A work, and who waits for its result."""

    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class Database:
    """One file, which belongs to this process alone while it is open.

    Args:
        file: its path; its directory is made.
        schema: makes the tables, if there are none.
        changes: of the tables, from each version of them to the next one. The first version is 1.
    """

    def __init__(self, file: str, schema: str, changes: Sequence[str]) -> None:
        self.file = file
        self._schema = schema
        self._changes = changes
        self._asked: SimpleQueue[Asked | None] = SimpleQueue()
        self._thread: Thread | None = None

    def open(self) -> None:
        """Open the file.

        Raises:
            BadFile: if it can't be used, or another process has it.
        """
        db: sqlite3.Connection | None = None
        try:
            Path(self.file).parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.file, timeout=0, isolation_level=None, check_same_thread=False)
            # Nobody else may open it, so two gateways never run the same jobs.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # what was accepted is on the disk
            db.execute("BEGIN IMMEDIATE")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            newest = 1 + len(self._changes)
            if version > newest:
                raise BadFile(
                    f"HUB_JOBS: '{self.file}' has version {version}, expected {newest} at most: a newer release made it"
                )
            changes = self._changes[version - 1 :] if version else ()
            for statement in ";".join([*changes, self._schema]).split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {newest}")
            db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            locked = "locked" in str(error)
            why = "another gateway has it open, and it is for one" if locked else str(error)
            raise BadFile(f"HUB_JOBS: '{self.file}' cannot be used: {why}") from None
        except (sqlite3.DatabaseError, OSError) as error:
            raise BadFile(f"HUB_JOBS: '{self.file}' cannot be used: {error}") from None
        finally:
            if db is not None and sys.exc_info()[0] is not None:
                db.close()
        loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._serve, args=(db, loop), name="jobs", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Do what was asked, then close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            await asyncio.to_thread(thread.join)

    async def condition(self) -> Condition:
        """How the database is: whether it works, and what room it has.

        Raises:
            HubError: NOT_READY if it fails.
        """
        await self.do(lambda db: db.execute("SELECT 1"))
        return await asyncio.to_thread(self._room)

    def _room(self) -> Condition:
        with suppress(OSError):  # it may be in memory
            used = Path(self.file).stat().st_size
            return Condition(self.file, persists=True, used=used, most=used + disk_usage(self.file).free)
        return Condition(self.file, persists=False)

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a work in the thread, in a transaction with others. It raises before it writes, or not at all.

        Raises:
            HubError: what the work raises; NOT_READY if the database fails.
        """
        if self._thread is None:
            raise HubError(Kind.NOT_READY, "the store of jobs is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.put(Asked(work, future))
        return await future

    def _serve(self, db: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        more = True
        while more:
            asked = []
            next = self._asked.get()
            while next is not None:
                asked.append(next)
                if len(asked) == MOST_AT_ONCE or self._asked.empty():
                    break
                next = self._asked.get()
            more = next is not None
            works = [one.work for one in asked]
            done = self._together(db, works)
            if done is None:  # one of them fails: it must not take the others along
                done = [(self._together(db, [work]) or [failed()])[0] for work in works]
            loop.call_soon_threadsafe(deliver, [one.future for one in asked], done)
        db.close()

    def _together(
        self, db: sqlite3.Connection, works: list[Callable[[sqlite3.Connection], Any]]
    ) -> list[Any] | None:
        """The results of works, or the `HubError`s that they raise; None if nothing was done, for one of them fails."""
        done: list[Any] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            for work in works:
                try:
                    done.append(work(db))
                except HubError as error:
                    done.append(error.with_traceback(None))
            db.execute("COMMIT")
        except Exception:
            if len(works) == 1:
                logger.exception("the store of jobs failed", extra={"file": self.file})
            with suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            return None
        return done


def failed() -> HubError:
    """The error for a work that the database could not do."""
    return HubError(Kind.NOT_READY, "the store of jobs failed; the gateway's log says why", retry_after=5)


def deliver(futures: list[asyncio.Future[Any]], done: list[Any]) -> None:
    """Give results to those who wait for them."""
    for future, result in zip(futures, done, strict=True):
        if future.done():  # nobody waits any more
            continue
        if isinstance(result, HubError):
            future.set_exception(result)
        else:
            future.set_result(result)
