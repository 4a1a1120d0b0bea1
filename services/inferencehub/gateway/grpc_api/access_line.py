"""A call's line in the access log."""

from __future__ import annotations

import msgspec

from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.logs import now as wall_clock
from inferencehub.core.values.requests import NO_TRIP
from inferencehub.gateway.calls.exchange import Exchange


class AccessLine(msgspec.Struct, gc=False):
    """A call's line in the access log, as `http_api/access_line.py` has it for HTTP; `code` is the gRPC status code.

    `status` is the HTTP status of the same end, so that one query finds the errors of both fronts.
    """

    time: float
    tier: str
    event: str
    front: str
    id: str
    method: str
    code: str
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
    access: AccessLog, front: str, exchange: Exchange, method: str, status: int, code: str, took: float
) -> None:
    """Write the line of a call that has ended.

    Args:
        access: where it goes.
        front: "grpc", or "job" for an attempt of a job.
        exchange: the call.
        method: its name.
        status, code: how it ended, see `AccessLine`.
        took: seconds.
    """
    job = exchange.job
    trip = job.trip if job is not None else NO_TRIP
    access.add(
        AccessLine(
            wall_clock(),
            access.tier,
            "request",
            front,
            exchange.id,
            method,
            code,
            exchange.model,
            status,
            exchange.kind,
            trip.rows,
            int(took * 1e6) / 1e3,
            int(job.waited * 1e6) / 1e3 if job is not None else 0.0,
            int(trip.batch * 1e6) / 1e3,
            int(trip.network * 1e6) / 1e3,
            int(trip.compute * 1e6) / 1e3,
            trip.served_by,
            exchange.caller.id,
            exchange.caller.tenant,
            exchange.trace.trace_id if exchange.trace is not None else "",
        )
    )
