"""Keeps a call that has been admitted as a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import NamedTuple

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.jobs.fronts.asking import owner_of
from inferencehub.gateway.jobs.fronts.headers import JobHeaders
from inferencehub.gateway.jobs.record import JobRecord, NewJob, Webhook
from inferencehub.gateway.jobs.submit import Jobs, new_id
from inferencehub.gateway.jobs.webhooks.targets import Target


class Admitted(NamedTuple):
    """What the way to the lane has said of a call: the version that it names, and its rows; and where its end is told."""

    version: str
    rows: int
    target: Target | None


async def keep(
    jobs: Jobs,
    bytes_held: ByteBudget,
    exchange: Exchange,
    said: JobHeaders,
    admitted: Admitted,
    size: int,
    pack: Callable[[], Awaitable[tuple[bytes, str]]],
) -> tuple[str, JobRecord]:
    """Make a job of a call.

    Args:
        jobs: where it goes.
        bytes_held: the process's budget; it has the request until it is kept.
        exchange: the call. Limits count it no longer if there is no new job.
        said: what the caller says of the job.
        admitted: what the way to the lane has said of the call.
        size: of the request in bytes.
        pack: makes the request as it is kept, and the digest of what one idempotency key stands for.

    Returns:
        Who may ask for the job, and how it stands.

    Raises:
        HubError: as `Store.add`, or BUSY if the process holds too many bytes.
    """
    try:
        bytes_held.take(size)
        try:
            request, digest = await pack()
            del pack
            job = new_job(jobs, exchange, said, admitted, request, digest)
            del request
            record = await jobs.submit(job)
        finally:
            bytes_held.give(size)
    except HubError:  # not where the caller has left: the job may be kept
        exchange.give_back()
        raise
    if record.id != job.id:  # it was counted when it came first
        exchange.give_back()
    return job.owner, record


def new_job(
    jobs: Jobs, exchange: Exchange, said: JobHeaders, admitted: Admitted, request: bytes, digest: str
) -> NewJob:
    """The job of a call."""
    caller, target, now = exchange.caller, admitted.target, time()
    return NewJob(
        id=new_id(),
        owner=owner_of(caller),
        caller=caller.id,
        tenant=caller.tenant,
        model=exchange.model,
        version=admitted.version,
        rows=admitted.rows,
        request=request,
        key=said.key,
        digest=digest,
        priority=said.priority,
        weight=1.0 if caller.flow is None else caller.flow.weight,
        created=now,
        not_before=max(now, said.not_before),
        keep_s=jobs.keep_s if said.keep_s is None else said.keep_s,
        webhook=None
        if target is None
        else Webhook(said.webhook, target.host, exchange.id, trace=exchange.kept_trace),
    )
