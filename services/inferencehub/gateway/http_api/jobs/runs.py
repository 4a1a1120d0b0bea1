"""Runs jobs of HTTP: each attempt is a call as if it had come over a connection, and its answer is the job's result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from inferencehub.core.auth.caller import ANYONE, Action, Caller
from inferencehub.core.http1.handler import Head, Reply
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import as_hub_error
from inferencehub.gateway.http_api.access_line import write_line
from inferencehub.gateway.http_api.call import Endpoint, HttpCall
from inferencehub.gateway.http_api.jobs.request import Kept
from inferencehub.gateway.http_api.response import SharedLines, error_lines
from inferencehub.gateway.jobs.record import Claim, Result
from inferencehub.gateway.jobs.worker import Outcome
from inferencehub.gateway.metrics import FrontMetrics

REFUSED = (Kind.NOT_READY, Kind.BUSY)  # nothing has run, or a pod was lost


class Recorded(Reply):
    """A reply that keeps the answer.

    Args:
        request: what is answered.
        ended: gets status, header lines and body.
    """

    __slots__ = ("_ended", "_lines", "_parts", "_status")

    def __init__(self, ended: Callable[[Result], None]) -> None:
        self.close = False
        self.drained = self.finish_head = None
        self._ended: Callable[[Result], None] | None = ended
        self._status, self._lines = 0, b""
        self._parts: list[bytes] = []

    def send(self, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
        """See `Reply`."""
        self._keep(Result(status, lines, b"".join(parts)))

    def start(self, status: int, lines: bytes) -> None:
        """See `Reply`."""
        self._status, self._lines = status, lines

    def write(self, data: Buffer) -> bool:
        """See `Reply`."""
        self._parts.append(bytes(data))
        return True

    def end(self) -> None:
        """See `Reply`."""
        self._keep(Result(self._status, self._lines, b"".join(self._parts)))

    def _keep(self, result: Result) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(result)


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
    """

    draining = False

    def __init__(
        self,
        find: Callable[[bytes], Endpoint | None],
        metrics: FrontMetrics,
        access: AccessLog | None,
        bytes_held: ByteBudget,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.find = find
        self.metrics = metrics
        self.access = access
        self.bytes_held = bytes_held
        self.threads = threads
        self.shared = SharedLines()

    def __call__(self, claim: Claim, ended: Callable[[Outcome], None]) -> Callable[[], None]:
        """See `Run`."""
        kept = Kept.unpack(claim.request)
        exchange = Exchange(kept.id)
        exchange.caller = caller_of(claim)
        endpoint = self.find(kept.target)
        assert endpoint is not None  # it had one when it came
        head = Head(endpoint.method, kept.target, kept.fields, None, "1.1", len(kept.body), True)
        call = JobCall(self, head, len(kept.body), exchange, endpoint)
        call.failure = None
        call.body = kept.body
        if (limit := kept.fields.get(b"x-request-timeout-ms")) is not None:
            exchange.limit_s = int(limit) / 1000
        self.metrics.in_flight += 1
        call.reply = Recorded(lambda result: ended(outcome_of(call, result)))
        try:
            endpoint.begin(call)
        except Exception as error:
            call.fail(error)
        return call.leave

    def lines(self, call: HttpCall, now: float) -> bytes:
        """See `WayOut`. The answers that carry a result have ids of their own."""
        return self.shared.of(call.exchange, now).partition(b"\r\n")[2]

    def refusal(self, call: HttpCall, error: Exception) -> tuple[int, bytes, Sequence[Buffer]]:
        """See `WayOut`."""
        refused = as_hub_error(call.exchange, error)
        assert isinstance(call, JobCall)
        call.failure = refused.with_traceback(None)
        return refused.kind.http, error_lines(refused), (call.endpoint.error(refused),)

    def again(self, call: HttpCall) -> None:
        """See `WayOut`. A job goes on: who sent it was asked then."""

    def close(self, call: HttpCall, status: int, now: float) -> None:
        """See `WayOut`."""
        exchange = call.exchange
        took = now - exchange.started
        self.metrics.answered(exchange.model, status, took)
        if self.access is not None:
            write_line(self.access, self.shared, self.metrics.front, call.head, exchange, status, took)


def caller_of(claim: Claim) -> Caller:
    """Who has sent a job, for its place in the lane and for logs. What they may do was asked when they sent it."""
    if not claim.owner:
        return ANYONE
    return Caller(claim.caller, claim.tenant, ["*"], [Action.INFER], weight=claim.weight)


def outcome_of(call: JobCall, result: Result) -> Outcome:
    """How an attempt has ended."""
    failure, job = call.failure, call.exchange.job
    if failure is None:
        return Outcome(result, "", refused=False, lost=0)
    lost = 0 if job is None else job.losses
    return Outcome(result, failure.detail, failure.kind in REFUSED, lost)
