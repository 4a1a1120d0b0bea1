"""What is noted of a call at its end, if its trace is kept. `spans.py` makes spans of that, in another thread."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import msgspec

from inferencehub.core.lane.job import Returned, StepRun
from inferencehub.core.traces.context import Trace
from inferencehub.core.traces.sampling import Sampler, child_of
from inferencehub.core.values.errors import Kind
from inferencehub.core.values.requests import NO_TRIP, Trip
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.metrics import FrontMetrics

NO_LANE: tuple[int, float, float, float, tuple[Returned, ...], Trip] = (0, 0.0, 0.0, 0.0, (), NO_TRIP)
STEP = "step"
FAULTS = frozenset([kind.label for kind in Kind if kind.http >= 500])
FAILED = 500  # the lowest HTTP status that is the fault of a server
# Bytes of a path, and characters of a model's name, that a trace has: a caller may send far longer ones, and what waits to be
# sent, and what spans of one kind have in common, is held in memory.
LONGEST = 500


class Ended(msgspec.Struct, gc=False):
    """A call that has ended. Times are in seconds on the clock of `time.monotonic`.

    Args:
        trace: the call's place in its trace.
        front: "http", "grpc" or "job"; `STEP` for a step of an ensemble.
        method, path: those of HTTP, the path at most `LONGEST` bytes of it; over gRPC the method's name, and b"". Of a step
            both are empty.
        status: HTTP status of its end, over gRPC too.
        kind: "ok", or the label of its error.
        id, model, caller, tenant: as in its access line, the model at most `LONGEST` characters of it.
        failed: whether its end is the fault of a server.
        started, ended: when.
        rows: of its inputs; 0 if it did not reach a lane.
        received, arrived, waited, returned, trip: as in `Job`.
        in_steps: whether it ran in steps, which are noted each by itself.
    """

    trace: Trace
    front: str
    method: str
    path: bytes
    status: int
    kind: str
    id: str
    model: str
    caller: str
    tenant: str
    failed: bool
    started: float
    ended: float
    rows: int
    received: float
    arrived: float
    waited: float
    returned: tuple[Returned, ...]
    trip: Trip
    in_steps: bool = False


class Posted(msgspec.Struct, gc=False):
    """An attempt to deliver a webhook.

    Args:
        trace: its place in its trace.
        host: host and port of the receiver.
        attempt: which one, from 1.
        status: HTTP status of the answer; 0 for none.
        started, ended: in seconds on the clock of `time.monotonic`.
    """

    trace: Trace
    host: str
    attempt: int
    status: int
    started: float
    ended: float


class CallTraces:
    """Begins the traces of calls, and notes those that are kept.

    Args:
        sampler: decides at a call's begin; `begin` is its method.
        put: takes the calls that are kept.
        slow_s: seconds from which on a call of a model is slow, and kept.
    """

    def __init__(self, sampler: Sampler, put: Callable[[Ended | Posted], None], slow_s: float) -> None:
        self.begin = sampler.begin
        self._put = put
        self._slow_s = slow_s

    def go_on(self, kept: str) -> Trace:
        """The trace of an attempt of a job.

        Args:
            kept: see `Trace.kept`; "" if the call that became the job had no trace.
        """
        return child_of(kept) or self.begin({})

    def ended(
        self, exchange: Exchange, metrics: FrontMetrics, method: str, target: bytes, status: int, now: float
    ) -> None:
        """Note a call that has ended, if its trace is kept, or if it has failed or was slow.

        Args:
            exchange: the call.
            metrics: those of its front.
            method, status: see `Ended`.
            target: that of HTTP; over gRPC b"".
            now: on the clock of `time.monotonic`.
        """
        trace, kind, started = exchange.trace, exchange.kind, exchange.started
        assert trace is not None
        failed = status >= FAILED or (status == 200 and kind != "ok")
        # A call that ran no model may have waited on purpose: for the end of a job, or for its events.
        slow = exchange.job is not None and now - started >= self._slow_s
        if not (trace.sampled or failed or slow):
            return
        metrics.show(exchange.model, status, now - started, trace.trace_id)
        caller, job = exchange.caller, exchange.job
        rows, received, arrived, waited, returned, trip = NO_LANE
        in_steps = False
        if job is not None:
            rows, received, arrived, waited = job.rows, job.received, job.arrived, job.waited
            returned, trip = job.returned, job.trip
            if job.steps:
                in_steps = True
                for step in job.steps:
                    self._step(step, exchange)
        self._put(
            Ended(
                trace,
                metrics.front,
                method,
                target.partition(b"?")[0][:LONGEST],
                status,
                kind,
                exchange.id,
                exchange.model[:LONGEST],
                caller.id,
                caller.tenant,
                failed,
                started,
                now,
                rows,
                received,
                arrived,
                waited,
                returned,
                trip,
                in_steps,
            )
        )

    def _step(self, step: StepRun, exchange: Exchange) -> None:
        """Note a step of an ensemble."""
        job, caller = step.job, exchange.caller
        assert isinstance(job.trace, Trace)
        failed = step.kind in FAULTS
        model, status = job.request.model[:LONGEST], FAILED if failed else 200
        self._put(
            Ended(
                job.trace,
                STEP,
                "",
                b"",
                status,
                step.kind,
                exchange.id,
                model,
                caller.id,
                caller.tenant,
                failed,
                step.started,
                step.ended,
                job.rows,
                job.received,
                job.arrived,
                job.waited,
                job.returned,
                job.trip,
                bool(job.steps),
            )
        )
        for inner in job.steps:
            self._step(inner, exchange)

    def posted(self, trace: Trace, host: str, attempt: int, status: int, started: float) -> None:
        """Note an attempt to deliver a webhook that has ended just now; see `Posted`."""
        if trace.sampled or not 200 <= status < 300:
            self._put(Posted(trace, host, attempt, status, started, monotonic()))
