"""The tables of the store, and rows as records."""

from __future__ import annotations

from typing import Any

from inferencehub.gateway.jobs.record import JobRecord, State

# `gone` is 1 when a result's time is over. `flows` has a row for each owner who has jobs waiting for a model: its turn is
# the owner's virtual time, and the owner with the least comes next.
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, caller TEXT NOT NULL, tenant TEXT NOT NULL,
    model TEXT NOT NULL, version TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
    priority INTEGER NOT NULL, weight REAL NOT NULL, once INTEGER NOT NULL, keep_s REAL NOT NULL,
    created REAL NOT NULL, not_before REAL NOT NULL, expires REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
    started REAL, ended REAL, lease REAL NOT NULL DEFAULT 0,
    status INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', gone INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, lines BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS flows (
    model TEXT NOT NULL, owner TEXT NOT NULL, turn REAL NOT NULL, PRIMARY KEY (model, owner)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS keys ON jobs (owner, key) WHERE key != '';
CREATE INDEX IF NOT EXISTS waits ON jobs (model, owner, priority DESC, id) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS runs ON jobs (lease) WHERE state = 'running';
CREATE INDEX IF NOT EXISTS ends ON jobs (expires) WHERE state != 'running';
CREATE INDEX IF NOT EXISTS owned ON jobs (owner, id)
"""
RECORD = "id, model, version, state, priority, attempts, created, not_before, started, ended, expires, status, error"


def record_of(row: tuple[Any, ...]) -> JobRecord:
    """A row of `RECORD` as a record."""
    values = dict(zip(RECORD.split(", "), row, strict=True))
    state = State(values["state"])
    expires = None if state is State.RUNNING else values["expires"]
    return JobRecord(**{**values, "state": state, "expires": expires})
