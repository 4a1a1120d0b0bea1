"""Rows of the script as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from inferencehub.gateway.jobs.record import Claim, JobRecord, State, Webhook


def record_of(row: Sequence[Any]) -> JobRecord:
    """A row, which may have a place behind it, as a record."""
    id, model, version, state, *numbers, error, webhook, progress, told = row[:16]
    priority, attempts, created, not_before, started, ended, expires, status = numbers
    at = State(state.decode())
    return JobRecord(
        id=id.decode(),
        model=model.decode(),
        version=version.decode(),
        state=at,
        priority=int(priority),
        attempts=int(attempts),
        created=float(created),
        not_before=float(not_before),
        started=float(started) if started else None,
        ended=float(ended) if ended else None,
        expires=None if at is State.RUNNING else float(expires),
        status=int(status),
        error=error.decode(),
        place=int(row[16]) if len(row) > 16 else None,
        webhook=None if webhook is None else msgspec.json.decode(webhook, type=Webhook),
        progress=float(progress) if progress else None,
        told=int(told or 0),
    )


def claim_of(row: Sequence[Any]) -> Claim:
    """A row as a claim."""
    id, attempt, caller, tenant, owner, weight, lane, rows, once, refusals, losses, request = row
    return Claim(
        id=id.decode(),
        attempt=int(attempt),
        caller=caller.decode(),
        tenant=tenant.decode(),
        owner=owner.decode(),
        weight=float(weight),
        lane=lane.decode(),
        rows=int(rows),
        once=once == b"1",
        refusals=int(refusals),
        losses=int(losses),
        request=request,
    )
