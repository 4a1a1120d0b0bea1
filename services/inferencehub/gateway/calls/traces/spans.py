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
from inferencehub.core.traces.encoding import Attributes
from inferencehub.gateway.calls.traces import kinds
from inferencehub.gateway.calls.traces.ended import Ended, Posted
from inferencehub.gateway.calls.traces.merged import MergedRun, MergedRuns

POD = "inferencehub-inference"
QUEUE, CALL, POD_QUEUE, POD_RUN = 1, 2, 3, 4  # numbers of spans, behind that of their call
MOST_PODS = 1000  # pods whose attributes are kept


class Spans:
    """Makes requests to a collector; `encode` is called in one thread.

    Args:
        process: the attributes of this process.
        shared: those that are of pods too.
        route_of: the route of an HTTP path, such as /v2/models/{model}/infer; "" if it has none.
    """

    def __init__(self, process: Attributes, shared: Attributes, route_of: Callable[[str], str]) -> None:
        self._process = process
        self._shared = shared
        self._route_of = lru_cache(4096)(route_of)
        self._merged = MergedRuns()
        self._pods: dict[str, Attributes] = {}
        self._spans: dict[Attributes, list[bytes]] = {}
        self._offset_ns = 0  # between the clock of `time.monotonic` and Unix time

    def encode(self, left: Sequence[Ended | Posted]) -> bytes:
        """A request with the spans of what has ended; b"" if there are none."""
        self._offset_ns = time_ns() - int(monotonic() * 1e9)
        for one in left:
            trace_id = bytes.fromhex(one.trace.trace_id)
            if isinstance(one, Posted):
                self._add(self._process, self._post(one, trace_id))
                continue
            self._add(self._process, self._whole(one, trace_id))
            if one.rows:
                self._add_queue(one, trace_id)
        for run in self._merged.complete():
            self._add_run(run)
        spans, self._spans = self._spans, {}
        return encoding.request(spans) if spans else b""

    def _add(self, origin: Attributes, span: bytes) -> None:
        spans = self._spans.get(origin)
        if spans is None:
            spans = self._spans[origin] = []
        spans.append(span)

    def _ns(self, at: float) -> int:
        return int(at * 1e9) + self._offset_ns

    def _post(self, post: Posted, trace_id: bytes) -> bytes:
        """The span of an attempt to deliver a webhook."""
        trace, kind = post.trace, kinds.webhook(post.host, post.attempt, post.status)
        parent, begins, ends = bytes.fromhex(trace.parent_id), self._ns(post.started), self._ns(post.ended)
        return encoding.span(trace_id, trace.number, begins, ends, parent, kind)

    def _whole(self, call: Ended, trace_id: bytes) -> bytes:
        """The span of the whole call."""
        trace, path = call.trace, call.target.partition(b"?")[0].decode("latin-1")
        facts = call.kind, call.failed, call.model
        if path:
            kind = kinds.http_call(call.front, call.method, self._route_of(path), call.status, *facts)
        else:
            kind = kinds.grpc_call(call.front, call.method, *facts)
        parts = [kind, encoding.attribute("inferencehub.request.id", call.id)]
        for name, value in (
            ("url.path", path),
            ("inferencehub.caller", call.caller),
            ("inferencehub.tenant", call.tenant),
        ):
            if value:
                parts.append(encoding.usual_attribute(name, value))
        if trace.state:
            parts.append(encoding.state(trace.state))
        for one in call.returned:
            told = (("inferencehub.outcome", one.outcome), ("exception.message", one.why))
            parts.append(encoding.event("retry", self._ns(one.at), told))
        parent, begins, ends = bytes.fromhex(trace.parent_id), self._ns(call.started), self._ns(call.ended)
        return encoding.span(trace_id, trace.number, begins, ends, parent, *parts)

    def _add_queue(self, call: Ended, trace_id: bytes) -> None:
        """The span of a call's wait in its lane; and that of the call to the pod, if it has left for one."""
        number = call.trace.number
        waited = call.waited - call.returned[-1].waited if call.returned else call.waited
        left = call.arrived + waited if waited else call.ended
        begins, ends, parent = self._ns(call.received), self._ns(left), number.to_bytes(8, "big")
        self._add(self._process, encoding.span(trace_id, number + QUEUE, begins, ends, parent, kinds.QUEUE))
        if waited:
            self._add_call(call, trace_id, parent, left)

    def _add_call(self, call: Ended, trace_id: bytes, parent: bytes, left: float) -> None:
        """The span of a call to a pod, which left then; and those of the pod, if it has said its times."""
        number, trip, error = call.trace.number + CALL, call.trip, call.kind if call.failed else None
        took = trip.batch + trip.network + trip.compute
        kind = kinds.pod_call(call.model, trip.served_by, trip.rows, error)
        link = b""
        if trip.rows > call.rows:
            run = self._merged.run_of(trip, call.model, left + trip.network / 2)
            run.add(call.rows, encoding.link(trace_id, number))
            link = encoding.link(run.trace_id, run.number)
        begins, ends = self._ns(left), self._ns(left + took if took else call.ended)
        self._add(self._process, encoding.span(trace_id, number, begins, ends, parent, kind, link))
        if not trip.batch and not trip.compute:
            return
        pod, parent = self._pod(trip.served_by), number.to_bytes(8, "big")
        number, begun = call.trace.number, left + trip.network / 2
        begins, runs = self._ns(begun), self._ns(begun + trip.batch)
        ends = self._ns(begun + trip.batch + trip.compute)
        kind = kinds.run(call.model, trip.rows, error)
        self._add(pod, encoding.span(trace_id, number + POD_QUEUE, begins, runs, parent, kinds.QUEUE))
        self._add(pod, encoding.span(trace_id, number + POD_RUN, runs, ends, parent, kind))

    def _add_run(self, run: MergedRun) -> None:
        """The span of a run of several calls."""
        trip = run.trip
        begins, ends = self._ns(run.start), self._ns(run.start + trip.batch + trip.compute)
        kind = kinds.run(run.model, trip.rows, None)
        span = encoding.span(run.trace_id, run.number, begins, ends, b"", kind, *run.links)
        self._add(self._pod(trip.served_by), span)

    def _pod(self, address: str) -> Attributes:
        """The attributes of a pod."""
        found = self._pods.get(address)
        if found is None:
            if len(self._pods) >= MOST_PODS:  # pods come and go
                self._pods.clear()
            own = (("service.name", POD), ("service.instance.id", address))
            found = self._pods[address] = (*own, *self._shared)
        return found
