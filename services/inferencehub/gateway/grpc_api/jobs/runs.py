"""Runs jobs of gRPC: each attempt is a call as if it had come over a connection, and its answer is the job's result."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from inferencehub.core.http1.response import JSON
from inferencehub.core.lane.sink import End, several_answers
from inferencehub.core.oip import messages
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import Calls, as_hub_error
from inferencehub.gateway.grpc_api.access_line import write_line
from inferencehub.gateway.grpc_api.infer import Infer
from inferencehub.gateway.grpc_api.jobs.answers import PROTOBUF
from inferencehub.gateway.grpc_api.jobs.request import unpacked
from inferencehub.gateway.jobs.fronts.runs import attempted, outcome_of
from inferencehub.gateway.jobs.record import Result
from inferencehub.gateway.jobs.running.attempt import Outcome, Running
from inferencehub.gateway.json_codec.answer_json import error_json
from inferencehub.gateway.metrics import FrontMetrics

METHOD = "ModelInfer"
TIMING = (
    b"server-timing: queue;dur=%.3f, batch;dur=%.3f, network;dur=%.3f, compute;dur=%.3f, total;dur=%.3f\r\n"
)


class JobRuns:
    """See the module's text: a `Run`.

    Args:
        calls: where attempts go.
        metrics: where they are counted.
        access: where their access lines go; None to write none.
        most_bytes: of a result.
    """

    def __init__(
        self, calls: Calls, metrics: FrontMetrics, access: AccessLog | None, most_bytes: int
    ) -> None:
        self.infer = Infer(calls)
        self.metrics = metrics
        self.access = access
        self.most_bytes = most_bytes

    def __call__(self, running: Running, ended: Callable[[Outcome], None]) -> None:
        """See `Run`."""
        claim = running.claim
        id, data, kept, sticky = unpacked(claim.request)
        running.claim = claim._replace(request=b"")  # its bytes are in the call now
        traces = self.infer.calls.traces
        exchange = attempted(id, running, None if traces is None else traces.go_on(kept), sticky)
        exchange.size = len(data)
        self.metrics.in_flight += 1
        attempt = Attempt(self, exchange, ended)
        running.stop = attempt.leave
        running.job = lambda: exchange.job
        attempt.begin(data)

    def close(self, exchange: Exchange, kind: Kind | None) -> None:
        """Count an attempt that has ended, and write its access line; `kind` is that of its error, None for none."""
        status, code = (200, "OK") if kind is None else (kind.http, kind.grpc)
        if kind is not None:
            exchange.kind = kind.label
        now = monotonic()
        took = now - exchange.started
        self.metrics.answered(exchange, status, took)
        if (traces := self.infer.calls.traces) is not None:
            traces.ended(exchange, self.metrics, METHOD, b"", status, now)
        if self.access is not None:
            write_line(self.access, self.metrics.front, exchange, METHOD, status, code, took)


class Attempt:
    """One attempt, and the sink of its answer.

    Args:
        runs: what it is one of.
        exchange: the attempt as a call.
        ended: gets its outcome.
    """

    several = False

    def __init__(self, runs: JobRuns, exchange: Exchange, ended: Callable[[Outcome], None]) -> None:
        self._runs = runs
        self._exchange = exchange
        self._ended: Callable[[Outcome], None] | None = ended
        self._id = ""  # of the message

    def begin(self, data: bytes) -> None:
        """Run the request in a serialized message."""
        try:
            message, raw = read_request(data)
            self._id = message.id
            self._runs.infer.submit(self._exchange, message, raw, self)
        except Exception as error:
            self._fail(error)

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`. There will be several answers, and ModelInfer can carry only one."""
        self._fail(several_answers(response.model))
        self._exchange.leave()

    def end(self, end: End) -> None:
        """See `Sink`."""
        if self._ended is None:
            return
        if not isinstance(end, InferResponse):
            self._fail(several_answers(self._exchange.model) if end is None else end)
            return
        try:
            body = self._body(end)
        except Exception as error:
            self._fail(error)
        else:
            self._end(Result(200, lines_of(self._exchange), body), None)

    def _body(self, response: InferResponse) -> bytes:
        most = self._runs.most_bytes
        if response.size <= most:
            answer = messages.answer_to_proto(response, self._id)
            body = answer if isinstance(answer, bytes) else answer.SerializeToString()
            if len(body) <= most:
                return body
        text = f"the answer is larger than the {most} bytes that a job may keep"
        raise HubError(Kind.MODEL_FAILED, text)

    def leave(self) -> None:
        """Nobody needs the outcome any more."""
        if self._ended is not None:
            self._ended = None
            self._exchange.leave()
            self._runs.close(self._exchange, Kind.CALLER_LEFT)

    def _fail(self, error: Exception) -> None:
        failure = as_hub_error(self._exchange, error).with_traceback(None)
        self._end(Result(failure.kind.http, JSON, error_json(failure)), failure)

    def _end(self, result: Result, failure: HubError | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._runs.close(self._exchange, None if failure is None else failure.kind)
            ended(outcome_of(self._exchange, failure, result))


def lines_of(exchange: Exchange) -> bytes:
    """The header lines with which HTTP shows the result of an attempt: its type, its times, and the pod that ran it."""
    job = exchange.job
    assert job is not None
    trip = job.trip
    seconds = (job.waited, trip.batch, trip.network, trip.compute, monotonic() - exchange.started)
    timing = TIMING % tuple([1e3 * one for one in seconds])
    served_by = b"x-served-by: %b\r\n" % trip.served_by.encode() if trip.served_by else b""
    return b"content-type: %b\r\n%b%b" % (PROTOBUF.encode(), timing, served_by)
