"""The tables of the store, and rows as records."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from inferencehub.gateway.jobs.batch import is_batch, items_of
from inferencehub.gateway.jobs.record import Items, JobRecord, State

# `due` is 1 when a job that waits may run, -1 for one that is held and for a batch; `gone` is 1 when a result's time is over.
# `flows` has a row for each owner who has jobs due for a lane: its turn is the owner's virtual time, and the owner with the
# least comes next. `webhooks` has a row for each job with a webhook, `told` how it stands, `due` null while there is nothing to
# deliver; `hosts` those of such rows, and when to look at them. Table `told` has what an attempt that runs has
# answered, and column `told` of `jobs` its bytes; behind the end these are those of a result that is a stream. The row of a
# batch in `requests` has what its front keeps of it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, caller TEXT NOT NULL, tenant TEXT NOT NULL,
    model TEXT NOT NULL, version TEXT NOT NULL, lane TEXT NOT NULL, rows INTEGER NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
    priority INTEGER NOT NULL, weight REAL NOT NULL, once INTEGER NOT NULL, keep_s REAL NOT NULL,
    created REAL NOT NULL, not_before REAL NOT NULL, expires REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL DEFAULT 0, started REAL, ended REAL, lease REAL NOT NULL DEFAULT 0,
    status INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', gone INTEGER NOT NULL DEFAULT 0,
    progress REAL, told INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, lines BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS told (
    id TEXT NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (id, at)
) STRICT;
CREATE TABLE IF NOT EXISTS flows (
    lane TEXT NOT NULL, owner TEXT NOT NULL, turn REAL NOT NULL, PRIMARY KEY (lane, owner)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS webhooks (id TEXT PRIMARY KEY, host TEXT NOT NULL, told BLOB NOT NULL, due REAL) STRICT;
CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY, next REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owed ON webhooks (host, due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS turns ON hosts (next);
CREATE UNIQUE INDEX IF NOT EXISTS keys ON jobs (owner, key) WHERE key != '';
CREATE INDEX IF NOT EXISTS waits ON jobs (lane, owner, priority DESC, created, id) WHERE state = 'queued' AND due = 1;
CREATE INDEX IF NOT EXISTS later ON jobs (not_before) WHERE state = 'queued' AND due = 0;
CREATE INDEX IF NOT EXISTS runs ON jobs (lease) WHERE state = 'running';
CREATE INDEX IF NOT EXISTS ends ON jobs (expires) WHERE state != 'running';
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, doing TEXT NOT NULL, cursor TEXT NOT NULL DEFAULT '', touched REAL NOT NULL,
    models TEXT NOT NULL DEFAULT '', stopped INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0, expired INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    created REAL NOT NULL, expires REAL NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS filed ON files (owner, id);
CREATE INDEX IF NOT EXISTS filed_until ON files (expires);
CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, custom_id TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS changes ON batches (touched) WHERE doing != '';
DROP INDEX IF EXISTS owned;
CREATE INDEX IF NOT EXISTS batched ON jobs (owner, id) WHERE lane = '';
CREATE INDEX IF NOT EXISTS listed ON jobs (owner, id) WHERE instr(id, '-') = 0
"""
# From each version of the tables to the next one.
CHANGES = (
    "ALTER TABLE jobs ADD COLUMN progress REAL; ALTER TABLE jobs ADD COLUMN told INTEGER NOT NULL DEFAULT 0",
)
HELD = 1e18  # when held jobs, batches and ended items expire: never, for something else decides that
COUNTS = "succeeded, failed, cancelled, expired"
RUNNING = "SELECT count(*) FROM jobs INDEXED BY runs WHERE state = 'running' AND id > ? AND id < ?"
RECORD = (
    "id, model, version, state, priority, attempts, created, not_before, started, ended, expires, status, error, "
    "progress, told"
)


def record_of(row: tuple[Any, ...]) -> JobRecord:
    """A row of `RECORD` as a record."""
    values = dict(zip(RECORD.split(", "), row, strict=True))
    state = State(values["state"])
    never = state is State.RUNNING or values["expires"] >= HELD
    expires = None if never else values["expires"]
    return JobRecord(**{**values, "state": state, "expires": expires})


def with_items(db: sqlite3.Connection, record: JobRecord, brief: bool = False) -> JobRecord:
    """A record, with what is known of its items if it is a batch; `brief` is without what its front keeps of it."""
    if not is_batch(record.id):
        return record
    query = f"SELECT total, {COUNTS}, models, doing FROM batches WHERE id = ?"
    total, succeeded, failed, cancelled, expired, models, doing = db.execute(query, (record.id,)).fetchone()
    query = "SELECT data FROM requests WHERE id = ?"
    about = None if brief else db.execute(query, (record.id,)).fetchone()
    (running,) = db.execute(RUNNING, items_of(record.id)).fetchone()
    kept = b"" if about is None else about[0]
    items = Items(total, running, succeeded, failed, cancelled, expired, tuple(models.split()), doing, kept)
    return msgspec.structs.replace(record, items=items)
