"""Jobs as the script takes them, and its rows as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from inferencehub.gateway.jobs.record import Claim, Items, JobRecord, NewJob, State, Webhook
from inferencehub.gateway.jobs.store import no_job


def fields_of(job: NewJob) -> list[str | float]:
    """Names and values of what the script keeps as it comes."""
    fields: dict[str, str | float] = {
        "owner": job.owner,
        "l": name(job.lane),
        "model": job.model,
        "version": job.version,
        "lane": job.lane,
        "rows": job.rows,
        "caller": job.caller,
        "tenant": job.tenant,
        "priority": job.priority,
        "weight": job.weight,
        "created": job.created,
        "not_before": job.not_before,
        "keep_s": job.keep_s,
    }
    if job.webhook is not None:
        fields["webhook"] = msgspec.json.encode(job.webhook).decode()
    return [part for field in fields.items() for part in field]


def name(text: str) -> str:
    """A name as a part of a key, without ':'."""
    return quote(text, safe="")


def there(id: str, row: Sequence[Any]) -> JobRecord:
    """A row as a record.

    Raises:
        HubError: NOT_FOUND if it is empty.
    """
    if not row:
        raise no_job(id)
    return record_of(row)


def record_of(row: Sequence[Any]) -> JobRecord:
    """A row, which may have a place and what is known of items behind it, as a record."""
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
        expires=float(expires) if expires and at is not State.RUNNING else None,
        status=int(status),
        error=error.decode(),
        place=int(row[16]) if len(row) > 16 and row[16] != b"" else None,
        items=items_of(row[17:]) if len(row) > 17 else None,
        webhook=None if webhook is None else msgspec.json.decode(webhook, type=Webhook),
        progress=float(progress) if progress else None,
        told=int(told or 0),
    )


def new_record(job: NewJob) -> JobRecord:
    """How a job stands that has just been kept."""
    return JobRecord(
        id=job.id,
        model=job.model,
        version=job.version,
        state=State.QUEUED,
        priority=job.priority,
        attempts=0,
        created=job.created,
        not_before=job.not_before,
        started=None,
        ended=None,
        expires=max(job.created, job.not_before) + job.keep_s,
        status=0,
        error="",
        webhook=job.webhook,
    )


def items_of(row: Sequence[Any]) -> Items:
    """What is known of items."""
    total, running, succeeded, failed, cancelled, expired = map(int, row[:6])
    models, doing, about = tuple(row[6].decode().split()), row[7].decode(), row[8] or b""
    return Items(total, running, succeeded, failed, cancelled, expired, models, doing, about)


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
