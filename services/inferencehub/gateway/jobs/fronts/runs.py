"""Attempts of jobs as calls: which front runs one, who makes it, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inferencehub.core.auth.caller import ANYONE, Action, Caller, Flow
from inferencehub.core.lane.job import Job
from inferencehub.core.traces.context import Trace
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.jobs.record import Claim, Result
from inferencehub.gateway.jobs.running.attempt import Outcome, Run, Running


class Fronts:
    """A `Run` that leaves each attempt to the front that has kept its request, as the first byte of the request says.

    Args:
        first: runs what no other front has marked as its own.
    """

    def __init__(self, first: Run) -> None:
        self._first = first
        self._marked: dict[bytes, Run] = {}

    def add(self, mark: bytes, run: Run) -> None:
        """Requests that begin with this byte are those of another front."""
        self._marked[mark] = run

    def __call__(self, running: Running, ended: Callable[[Outcome], None]) -> None:
        """See `Run`."""
        self._marked.get(running.claim.request[:1], self._first)(running, ended)


def attempted(id: str, running: Running, trace: Trace | None, sticky: Mapping[bytes, bytes]) -> Exchange:
    """The exchange of an attempt.

    Args:
        id: the request id of the call that became the job.
        running: the attempt.
        trace: that of the attempt; None where there are no traces.
        sticky: of that call, see `Exchange`.
    """
    exchange = Exchange(id)
    exchange.trace = trace
    exchange.fields = sticky
    exchange.caller = caller_of(running.claim)
    exchange.losses = running.claim.losses
    exchange.tell = running.telling.progress
    return exchange


def caller_of(claim: Claim) -> Caller:
    """Who has sent a job, for its place in the lane and for logs. What they may do was asked when they sent it."""
    if not claim.owner:
        return ANYONE
    caller = Caller(claim.caller, claim.tenant, ["*"], [Action.INFER])
    caller.flow = Flow(claim.owner, claim.weight)
    return caller


def outcome_of(exchange: Exchange, failure: HubError | None, result: Result, cut: str = "") -> Outcome:
    """How an attempt has ended.

    Args:
        exchange: the attempt.
        failure: the error that it ended with; None if it has an answer.
        result: what the call would have been answered.
        cut: why the answer is no success all the same; "" if it is one.
    """
    job = exchange.job
    if failure is None:
        slot_s = 0.0 if job is None else slot_seconds(job)
        return Outcome(result, cut, refused=False, ran=True, lost=0, slot_s=slot_s)
    before = exchange.losses or 0
    lost = (
        0 if job is None else max(job.losses - before, int(job.has_parts and failure.kind is Kind.NOT_READY))
    )
    return Outcome(
        result,
        failure.detail,
        refused=failure.kind in (Kind.NOT_READY, Kind.BUSY),
        ran=job is not None and failure.kind is not Kind.BUSY,
        lost=lost,
        busy=failure.kind is Kind.BUSY,
    )


def slot_seconds(job: Job) -> float:
    """Seconds of a slot that an answered call took: its part of the time of its batch."""
    trip = job.trip
    return (trip.network + trip.compute) * job.rows / trip.rows if trip.rows else 0.0
