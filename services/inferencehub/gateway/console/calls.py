"""The last calls that failed, were refused or were slow, and where their time went. Nothing of what they said is kept.

Calls that end well and in time never come here: the fronts' metrics look at how a call ended and how long it took, which
they know anyway.
"""

from __future__ import annotations

from collections import deque
from time import time
from typing import Any

import msgspec

from inferencehub.core.auth.caller import Action
from inferencehub.gateway.calls.exchange import Exchange

MOST_KEPT = 50  # of each kind, so that many of one do not push out those of another
FAILED = 500  # the lowest HTTP status that is the fault of a server


class EndedCall(msgspec.Struct, gc=False):
    """A call that has ended. Durations are in ms.

    Args:
        at: when, in seconds since 1970.
        why: "failed", "refused" or "slow".
        front: "http", "grpc" or "job".
        model: "" if it reached none.
        status: HTTP status of its end, over gRPC too.
        kind: "ok", or the label of its error.
        id: the request id.
        trace: the trace's id; "" where there are no traces.
        caller: who called; "" if nobody is asked.
        owner: their tenant, or they alone, as of jobs: an id may be that of a key, of a token and of a certificate.
        pod: address of the pod that answered; "" if none did.
        rows: of its inputs; 0 if it did not reach a lane.
        batch_rows: of the batch that it ran in.
        total, queue, batch, network, compute: the parts of `Server-Timing`.
    """

    at: float
    why: str
    front: str
    model: str
    status: int
    kind: str
    id: str
    trace: str
    caller: str
    owner: str
    pod: str
    rows: int
    batch_rows: int
    total: float
    queue: float
    batch: float
    network: float
    compute: float


class EndedCalls:
    """See the module's text; the metrics of each front call `note`."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[EndedCall]] = {
            why: deque(maxlen=MOST_KEPT) for why in ("failed", "refused", "slow")
        }

    def note(self, front: str, exchange: Exchange, status: int, seconds: float) -> None:
        """Keep a call that was slow, or ended with an error."""
        kind, job, caller = exchange.kind, exchange.job, exchange.caller
        # A call that ran no model may have waited on purpose: for the end of a job, or for its events.
        if exchange.action is not Action.INFER or (kind == "ok" and job is None):
            return
        why = "slow" if kind == "ok" else "failed" if status >= FAILED or status == 200 else "refused"
        rows = batch_rows = 0
        waited, pod, parts = 0.0, "", (0.0, 0.0, 0.0)
        if job is not None:
            trip = job.trip
            rows, waited, pod, batch_rows = job.rows, job.waited, trip.served_by, trip.rows
            parts = trip.batch, trip.network, trip.compute
        self._kept[why].append(
            EndedCall(
                round(time(), 3),
                why,
                front,
                exchange.model,
                status,
                kind,
                exchange.id,
                "" if exchange.trace is None else exchange.trace.trace_id,
                caller.id,
                "" if caller.flow is None else caller.flow.name,
                pod,
                rows,
                batch_rows,
                *[round(1e3 * one, 3) for one in (seconds, waited, *parts)],
            )
        )

    def newest(self) -> list[dict[str, Any]]:
        """All that are kept, the newest first."""
        kept = [call for calls in self._kept.values() for call in calls]
        kept.sort(key=lambda call: call.at, reverse=True)
        return [msgspec.structs.asdict(call) for call in kept]
