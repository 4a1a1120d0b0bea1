"""Runs jobs of HTTP: each attempt is a call as if it had come over a connection, and its answer is the job's result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from inferencehub.core.http1.handler import Head
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.submit import as_hub_error
from inferencehub.gateway.calls.traces.ended import CallTraces
from inferencehub.gateway.http_api.access_line import write_line
from inferencehub.gateway.http_api.call import Endpoint, HttpCall
from inferencehub.gateway.http_api.jobs.recorded import Recorded
from inferencehub.gateway.http_api.jobs.request import Kept, headers_of
from inferencehub.gateway.http_api.response import JSON, KINDS, SharedLines, error_lines
from inferencehub.gateway.jobs.fronts.runs import attempted, outcome_of
from inferencehub.gateway.jobs.record import Result
from inferencehub.gateway.jobs.running.attempt import Outcome, Running
from inferencehub.gateway.metrics import FrontMetrics

TOO_LARGE = "the answer is larger than what a job may keep"
CUT = "the stream of answers ended with an error, which is its last event"


class JobCall(HttpCall):
    """A call that is an attempt of a job; `failure` is the error that it ended with."""

    __slots__ = ("failure",)
    failure: HubError | None


class JobRuns:
    """See the module's text: a `Run`, and the `WayOut` of its calls.

    Args:
        find: returns the endpoint of a target.
        metrics: where attempts are counted.
        access: where their access lines go; None to write none.
        bytes_held, threads: see `WayOut`.
        most_bytes: of a result.
        traces: notes attempts whose traces are kept; None where there are no traces.
    """

    draining = False

    def __init__(
        self,
        find: Callable[[bytes], Endpoint | None],
        metrics: FrontMetrics,
        access: AccessLog | None,
        bytes_held: ByteBudget,
        threads: ThreadPoolExecutor,
        most_bytes: int,
        traces: CallTraces | None,
    ) -> None:
        self.traces = traces
        self.find = find
        self.metrics = metrics
        self.access = access
        self.bytes_held = bytes_held
        self.threads = threads
        self.most_bytes = most_bytes
        self.shared = SharedLines()

    def __call__(self, running: Running, ended: Callable[[Outcome], None]) -> None:
        """See `Run`."""
        claim = running.claim
        kept = Kept.unpacked(claim.request)
        running.claim = claim._replace(request=b"")  # its bytes are in the call now
        endpoint = self.find(kept.target)
        if endpoint is None:
            raise LookupError(f"no endpoint for {kept.target!r}")
        trace = None if self.traces is None else self.traces.go_on(kept.trace)
        exchange = attempted(kept.id, running, trace, kept.sticky)
        exchange.forwarded = headers_of(kept.fields)
        head = Head(endpoint.method, kept.target, kept.fields, None, "1.1", len(kept.body), True)
        call = JobCall(self, head, len(kept.body), exchange, endpoint)
        call.failure = None
        if (limit := kept.fields.get(b"x-request-timeout-ms")) is not None:
            exchange.limit_s = int(limit) / 1000
        call.body = kept.body
        call.hold_anyway(self.bytes_held, len(kept.body))
        self.metrics.in_flight += 1
        call.reply = Recorded(
            self.most_bytes, lambda result: ended(result_outcome(call, result)), running.telling
        )
        running.stop = call.leave
        running.job = lambda: exchange.job
        try:
            endpoint.begin(call)
        except Exception as error:
            call.fail(error)

    def lines(self, call: HttpCall, now: float) -> bytes:
        """See `WayOut`. The answers that carry a result have ids of their own."""
        return self.shared.of(call.exchange, now).partition(b"\r\n")[2]

    def refusal(self, call: HttpCall, error: Exception) -> tuple[int, bytes, Sequence[Buffer]]:
        """See `WayOut`. Who reads the result is not to come again for another."""
        refused = as_hub_error(call.exchange, error)
        assert isinstance(call, JobCall)
        call.failure = refused.with_traceback(None)
        lines = JSON if refused.kind in (Kind.BUSY, Kind.NOT_READY) else error_lines(refused)
        return refused.kind.http, lines, (call.endpoint.error(refused),)

    def again(self, call: HttpCall) -> None:
        """See `WayOut`. A job goes on: who sent it was asked then."""

    def close(self, call: HttpCall, status: int, now: float) -> None:
        """See `WayOut`."""
        call.release()
        exchange = call.exchange
        if status != 200:
            exchange.kind = KINDS.get(status, exchange.kind)
        took = now - exchange.started
        self.metrics.answered(exchange, status, took)
        if self.traces is not None:
            self.traces.ended(exchange, self.metrics, call.head.method, call.head.target, status, now)
        if self.access is not None:
            write_line(self.access, self.shared, self.metrics.front, call.head, exchange, status, took)


def result_outcome(call: JobCall, result: Result) -> Outcome:
    """How an attempt has ended."""
    # A stream that has begun ends with its error as an event.
    cut = CUT if call.exchange.kind != "ok" else "" if result.status == 200 else TOO_LARGE
    return outcome_of(call.exchange, call.failure, result, cut)
