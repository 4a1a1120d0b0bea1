"""The spans of a call, made of what is known at its end; the exporter's thread makes them.

    POST /predict            the gateway: from the head of the request to the answer
      queue                  the gateway: in the lane, until it left for a pod
      call three             the gateway: the message to the pod, and its answer
        queue                the pod: until an instance was free
        run three            the pod: the model

A pod says how long a call waited and ran, not when. Both stand in the middle of the time that its call took, so no clocks are
compared. Where several calls ran together, their run is a span in a trace of its own too, with a link to each call of those
that are kept; and each of these has a link to the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from time import monotonic, time_ns

from inferencehub.core.traces import encoding
from inferencehub.core.traces.context import CALL, POD_QUEUE, POD_RUN, QUEUE
from inferencehub.core.traces.encoding import Attributes
from inferencehub.gateway.calls.traces import kinds
from inferencehub.gateway.calls.traces.ended import STEP, Ended, Posted
from inferencehub.gateway.calls.traces.merged import MergedRun, MergedRuns

POD = "inferencehub-inference"


class Spans:
    """Makes requests to a collector; an `Encoder`.

    Args:
        process: the attributes of this process.
        shared: those that are of pods too.
        route_of: the route of an HTTP path, such as /v2/models/{model}/infer; "" if it has none.
    """

    def __init__(self, process: Attributes, shared: Attributes, route_of: Callable[[str], str]) -> None:
        self._process = process
        self._shared = shared
        self._route_of = lru_cache(4096)(lambda path: route_of(path.decode("latin-1")))
        self._merged = MergedRuns()
        self._own: list[bytes] = []  # the spans of this process
        self._pods: dict[str, list[bytes]] = {}  # and those of pods
        self._offset_ns = 0  # between the clock of `time.monotonic` and Unix time

    def add(self, left: Sequence[Ended | Posted]) -> None:
        """See `Encoder`."""
        self._offset_ns = time_ns() - int(monotonic() * 1e9)
        for one in left:
            trace_id = bytes.fromhex(one.trace.trace_id)
            if isinstance(one, Posted):
                self._add_post(one, trace_id)
                continue
            self._add_whole(one, trace_id)
            if one.rows:
                self._add_lane(one, trace_id)

    def request(self) -> bytes:
        """See `Encoder`."""
        for run in self._merged.complete():
            self._add_run(run)
        spans = {self._process: self._own} if self._own else {}
        spans |= {self._attributes(address): own for address, own in self._pods.items()}
        self._own, self._pods = [], {}
        return encoding.request(spans) if spans else b""

    def _ns(self, at: float) -> int:
        return int(at * 1e9) + self._offset_ns

    def _add_post(self, post: Posted, trace_id: bytes) -> None:
        """The span of an attempt to deliver a webhook."""
        trace, kind = post.trace, kinds.webhook(post.host, post.attempt, post.status)
        parent, begins, ends = bytes.fromhex(trace.parent_id), self._ns(post.started), self._ns(post.ended)
        self._own += encoding.span(trace_id, trace.number, begins, ends, parent, kind)

    def _add_whole(self, call: Ended, trace_id: bytes) -> None:
        """The span of the whole call."""
        trace, id = call.trace, call.id.encode()
        facts = call.kind, call.failed, call.model, call.caller, call.tenant
        if call.front == STEP:
            kind = kinds.step(*facts)
        elif call.path:
            route = self._route_of(call.path)
            kind = kinds.http_call(call.front, call.method, call.path, route, call.status, *facts)
        else:
            kind = kinds.grpc_call(call.front, call.method, *facts)
        parts = [kind, encoding.before_text("inferencehub.request.id", len(id)), id]
        if trace.state:
            parts.append(encoding.state(trace.state))
        for one in call.returned:
            told = (("inferencehub.outcome", one.outcome), ("exception.message", one.why))
            parts.append(encoding.event("retry", self._ns(one.at), told))
        parent, begins, ends = bytes.fromhex(trace.parent_id), self._ns(call.started), self._ns(call.ended)
        self._own += encoding.span(trace_id, trace.number, begins, ends, parent, *parts)

    def _add_lane(self, call: Ended, trace_id: bytes) -> None:
        """The span of a call's wait in its lane; and those of the call to the pod, if it has left for one."""
        number, offset, own = call.trace.number, self._offset_ns, self._own
        waited = call.waited - call.returned[-1].waited if call.returned else call.waited
        at = call.arrived + waited if waited else call.ended
        received, left = int(call.received * 1e9) + offset, int(at * 1e9) + offset
        own.append(encoding.child(kinds.QUEUE, trace_id, number + QUEUE, number, received, left))
        if not waited or call.in_steps:
            return
        trip, error, sent = call.trip, call.kind if call.failed else None, number + CALL
        took = trip.batch + trip.network + trip.compute
        answered = int((at + took if took else call.ended) * 1e9) + offset
        merged = trip.span is not None or trip.rows > call.rows
        kind = kinds.pod_call(call.model, trip.served_by, trip.rows, error, merged)
        own.append(encoding.child(kind, trace_id, sent, number, left, answered))
        begun = at + trip.network / 2
        if merged:
            run = self._merged.run_of(trip, call.model, begun)
            run.add(call.rows, encoding.link(trace_id, sent))
            own.append(run.link)
        if trip.batch or trip.compute:
            begins, runs = int(begun * 1e9) + offset, int((begun + trip.batch) * 1e9) + offset
            ends = runs + int(trip.compute * 1e9)
            pod, kind = self._of(trip.served_by), kinds.run(call.model, trip.rows, error)
            pod.append(encoding.child(kinds.QUEUE, trace_id, number + POD_QUEUE, sent, begins, runs))
            pod.append(encoding.child(kind, trace_id, number + POD_RUN, sent, runs, ends))

    def _add_run(self, run: MergedRun) -> None:
        """The span of a run of several calls."""
        trip, pod = run.trip, self._of(run.trip.served_by)
        begins, ends = self._ns(run.start), self._ns(run.start + trip.batch + trip.compute)
        kind = kinds.run(run.model, trip.rows, None).behind
        pod += encoding.span(run.trace_id, run.number, begins, ends, b"", kind, *run.links)

    def _of(self, address: str) -> list[bytes]:
        """The spans of a pod."""
        found = self._pods.get(address)
        if found is None:
            found = self._pods[address] = []
        return found

    def _attributes(self, address: str) -> Attributes:
        """The attributes of a pod."""
        return (("service.name", POD), ("service.instance.id", address), *self._shared)
