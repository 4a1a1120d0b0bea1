"""What is to be delivered, in a file of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from inferencehub.gateway.jobs.database import Database
from inferencehub.gateway.jobs.record import JobRecord, Webhook
from inferencehub.gateway.jobs.sqlite.tables import RECORD, record_of, with_items
from inferencehub.gateway.jobs.webhooks.outbox import LONGEST_S

MOST_HOSTS = 1000  # looked at in one step


class SqliteWebhooks:
    """See the module's text; an `Outbox`.

    Args:
        database: has it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, most: int, each: int, places: Mapping[str, int], lease_s: float, now: float
    ) -> list[JobRecord]:
        """See `Outbox`."""

        def work(db: sqlite3.Connection) -> list[JobRecord]:
            found: list[JobRecord] = []
            query = "SELECT host FROM hosts WHERE next <= ? ORDER BY next, host LIMIT ?"
            for (host,) in db.execute(query, (now, MOST_HOSTS)).fetchall():
                few = min(places.get(host, each), most - len(found))
                if few > 0:
                    found += take(db, host, few, now + lease_s, now)
            return found

        return await self._database.do(work)

    async def done(self, id: str, webhook: Webhook, due: float | None) -> bool:
        """See `Outbox`."""

        def work(db: sqlite3.Connection) -> bool:
            before = of(db, id)
            if before is None or (before.ends, before.attempts) != (webhook.ends, webhook.attempts):
                return False
            put(db, id, webhook, due)
            return True

        return await self._database.do(work)


def add(db: sqlite3.Connection, id: str, webhook: Webhook) -> None:
    """A new job has a webhook."""
    values = (id, webhook.host, msgspec.json.encode(webhook))
    db.execute("INSERT INTO webhooks (id, host, told) VALUES (?, ?, ?)", values)


def of(db: sqlite3.Connection, id: str) -> Webhook | None:
    """How the webhook of a job stands."""
    row = db.execute("SELECT told FROM webhooks WHERE id = ?", (id,)).fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=Webhook)


def attached(db: sqlite3.Connection, record: JobRecord) -> JobRecord:
    """A record with its webhook."""
    webhook = of(db, record.id)
    return record if webhook is None else replace(record, webhook=webhook)


def ended(db: sqlite3.Connection, id: str, now: float) -> None:
    """A job has ended: its webhook is due."""
    webhook = of(db, id)
    if webhook is not None:
        put(db, id, again(webhook, webhook.ends + 1), now)


def withdraw(db: sqlite3.Connection, id: str) -> None:
    """A job waits again: its next end is told, and the last one not any more."""
    webhook = of(db, id)
    if webhook is not None:
        put(db, id, again(webhook, webhook.ends), None)


def owed(db: sqlite3.Connection, id: str, now: float) -> bool:
    """Whether a job must not be forgotten, for its webhook is not delivered yet."""
    query = (
        "SELECT 1 FROM webhooks JOIN jobs USING (id) WHERE id = ? AND webhooks.due IS NOT NULL AND ended > ?"
    )
    return db.execute(query, (id, now - LONGEST_S)).fetchone() is not None


def put(db: sqlite3.Connection, id: str, webhook: Webhook, due: float | None) -> None:
    """Keep how a webhook stands, and when it is to be delivered."""
    query = "UPDATE webhooks SET told = ?, due = ? WHERE id = ?"
    db.execute(query, (msgspec.json.encode(webhook), due, id))
    if due is not None:
        query = "INSERT INTO hosts VALUES (?, ?) ON CONFLICT DO UPDATE SET next = min(next, excluded.next)"
        db.execute(query, (webhook.host, due))


def take(db: sqlite3.Connection, host: str, most: int, lease: float, now: float) -> list[JobRecord]:
    """Take what is due of a host. Then it comes behind the hosts that have waited longer."""
    query = "SELECT id FROM webhooks WHERE host = ? AND due <= ? ORDER BY due LIMIT ?"
    found: list[JobRecord] = []
    for (id,) in db.execute(query, (host, now, most)).fetchall():
        webhook = of(db, id)
        assert webhook is not None
        put(db, id, replace(webhook, attempts=webhook.attempts + 1), lease)
        row = db.execute(f"SELECT {RECORD} FROM jobs WHERE id = ?", (id,)).fetchone()
        found.append(attached(db, with_items(db, record_of(row))))
    (first,) = db.execute(
        "SELECT min(due) FROM webhooks WHERE host = ? AND due IS NOT NULL", (host,)
    ).fetchone()
    if first is None:
        db.execute("DELETE FROM hosts WHERE host = ?", (host,))
    else:
        db.execute("UPDATE hosts SET next = max(?, ?) WHERE host = ?", (first, now, host))
    return found


def again(webhook: Webhook, ends: int) -> Webhook:
    """A webhook that is to be delivered anew, for the end with this number."""
    return Webhook(webhook.url, webhook.host, webhook.request, ends=ends, trace=webhook.trace)
