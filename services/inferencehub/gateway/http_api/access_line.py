"""A request's line in the access log."""

from __future__ import annotations

import msgspec

from inferencehub.core.http1.handler import Head
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.logs import now as wall_clock
from inferencehub.core.values.requests import NO_TRIP
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.response import SharedLines

PATH_LIMIT = 500  # bytes of a path in its access line; targets are ASCII


class AccessLine(msgspec.Struct, gc=False):
    """A request's line in the access log; fields are written in this order. `time` is Unix time in seconds."""

    time: float
    tier: str
    event: str
    front: str
    id: str
    method: str
    path: str
    model: str
    status: int
    kind: str
    batch: int
    ms: float
    queue_ms: float
    batch_ms: float
    network_ms: float
    compute_ms: float
    served_by: str
    caller: str
    tenant: str
    trace_id: str


def write_line(
    access: AccessLog,
    shared: SharedLines,
    front: str,
    head: Head,
    exchange: Exchange,
    status: int,
    took: float,
) -> None:
    """Write the line of a request that was answered with a status after `took` seconds."""
    job = exchange.job
    trip = job.trip if job is not None else NO_TRIP
    shown = shared.shown(trip)
    access.add(
        AccessLine(
            wall_clock(),
            access.tier,
            "request",
            front,
            exchange.id,
            head.method,
            (head.path if b"?" in head.target else head.target)[:PATH_LIMIT].decode(),
            exchange.model,
            status,
            exchange.kind,
            trip.rows,
            int(took * 1e6) / 1e3,
            int(job.waited * 1e6) / 1e3 if job is not None else 0.0,
            shown.batch_ms,
            shown.network_ms,
            shown.compute_ms,
            trip.served_by,
            exchange.caller.id,
            exchange.caller.tenant,
            exchange.trace.trace_id if exchange.trace is not None else "",
        )
    )
