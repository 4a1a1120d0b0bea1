"""Copies of calls that try a new version: a copy runs once its caller has the answer, and both answers are compared.

A copy is background work: it goes behind calls, and it is dropped where calls wait, where no instance of its version is
free, or where the process holds half of the bytes that it may hold. It fails no caller, and no limit counts it.
"""

from __future__ import annotations

from random import random
from time import monotonic

from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.sink import End, Sink
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse, Trip
from inferencehub.core.values.structs.struct import replace
from inferencehub.gateway.routing.fit import best_first, fit
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.traffic.agreement import agree
from inferencehub.gateway.routing.traffic.shadow import Shadow


def shadowed(table: RoutingTable, shadow: Shadow, lane: ModelLane, job: Job, sink: Sink) -> Sink:
    """The sink of a call; if the call is one of those that get a copy, a sink that starts the copy after the answer."""
    if job.background or lane.info.signature.decoupled or random() >= shadow.entry.share:
        return sink
    return Shadowed(table, shadow, lane, job, sink)


class Shadowed:
    """The sink of a call that gets a copy.

    Args:
        table: the lanes.
        shadow: what the copies have shown so far.
        lane, job: those of the call.
        sink: gets the answer first.
    """

    __slots__ = ("_job", "_lane", "_shadow", "_sink", "_table", "several")

    def __init__(self, table: RoutingTable, shadow: Shadow, lane: ModelLane, job: Job, sink: Sink) -> None:
        self.several = sink.several
        self._table = table
        self._shadow = shadow
        self._lane = lane
        self._job = job
        self._sink = sink

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`."""
        self._sink.part(response, weight)

    def end(self, end: End) -> None:
        """See `Sink`. The answer goes to the caller, and then the copy begins."""
        self._sink.end(end)
        shadow, job = self._shadow, self._job
        if not isinstance(end, InferResponse) or end.version == shadow.version:
            return
        request = replace(job.request, version=shadow.version)
        lanes = [one for one in self._table.known(request.model, shadow.version) if one.open]
        if not lanes or self._lane.lane.queue.rows or self._short(end):
            shadow.count("dropped")
            return
        try:
            lane, request, rows = fit(best_first(lanes), request)
            if lane.room_for_jobs < rows:
                shadow.count("dropped")
                return
            copy = copy_of(job, request, rows, shadow.limit_s)
            lane.accept(copy, Compared(self._table, shadow, lane, copy, end, job.trip))
            self._table.bytes_held.take(end.size)
        except HubError as error:  # its inputs are others, or its lane is full
            shadow.count("dropped" if error.kind is Kind.BUSY else "failed")

    def _short(self, response: InferResponse) -> bool:
        """Whether there is too little memory for a copy."""
        held = self._table.bytes_held
        return 2 * (held.held + self._job.size + response.size) > held.limit


def copy_of(job: Job, request: InferRequest, rows: int, limit_s: float) -> Job:
    """The copy of a call; it has `limit_s` seconds for its run, and no second one."""
    now = monotonic()
    copy = Job(request, rows, (Member(rows, now + limit_s, f"{job.members[0].id}-shadow"),), now)
    copy.counted = True
    copy.to_background()
    return copy


class Compared:
    """The sink of a copy.

    Args:
        table: has the budget that counts the answer which is kept for comparing, from when the copy is accepted.
        shadow: is told what came out.
        lane, copy: the copy, and where it runs.
        answer, trip: what the caller got.
    """

    __slots__ = ("_answer", "_copy", "_held", "_lane", "_shadow", "_trip")
    several = False

    def __init__(
        self,
        table: RoutingTable,
        shadow: Shadow,
        lane: ModelLane,
        copy: Job,
        answer: InferResponse,
        trip: Trip,
    ) -> None:
        self._held = table.bytes_held
        self._shadow = shadow
        self._lane = lane
        self._copy = copy
        self._answer = answer
        self._trip = trip

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`. A model that gives several answers is not compared."""

    def end(self, end: End) -> None:
        """See `Sink`."""
        self._held.give(self._answer.size)
        if not isinstance(end, InferResponse):
            self._shadow.count("failed")
            return
        self._shadow.count("agreed" if agree(self._lane.info, self._answer, end) else "differed")
        self._shadow.took(run_s(self._trip), run_s(self._copy.trip))


def run_s(trip: Trip) -> float:
    """Seconds of a run, without the wait in the gateway's queue: calls do not wait there for what copies wait for."""
    return trip.batch + trip.network + trip.compute
