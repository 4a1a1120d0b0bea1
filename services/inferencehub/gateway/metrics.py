"""The gateway's Prometheus metrics. Label values are statuses and models that pods listed; callers add none."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable
from itertools import product
from math import inf
from typing import Any, Protocol

from prometheus_client import Counter, Gauge

from inferencehub.core.grpc_server.connections.callers import Callers
from inferencehub.core.grpc_server.streams.infer_streams import InferStreams
from inferencehub.core.http1.server import HttpServer
from inferencehub.core.lane.batch import Batch, Outcome, Reason
from inferencehub.core.lane.slot import Ran
from inferencehub.core.process.histogram import Histogram, Observations
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.metrics import (
    ROWS,
    SECONDS,
    AccessLines,
    TracedCalls,
    Traffic,
    new_registry,
)
from inferencehub.core.process.scrape.written import CounterOfMany, Values
from inferencehub.core.values.statistics import Statistics

PREFIX = "inferencehub_gateway"
REQUEST = ("front", "model", "status")  # labels
FRONTS = ("http", "grpc", "job")
# How requests usually end. They are counted from the beginning: a rate has no value before the second sample of a counter, so
# the first error would not be seen, and no share of errors before it.
STATUSES = ("200", "202", "400", "401", "403", "404", "429", "499", "500", "503", "504")


class Metrics:
    """All metric families, in their own registry.

    Args:
        access: the log whose dropped lines are counted; None if access lines are off.
    """

    def __init__(self, access: AccessLog | None = None) -> None:
        self.registry = registry = new_registry(PREFIX)
        self.requests = Histogram(
            f"{PREFIX}_request_seconds",
            "time of requests, by the HTTP status of how they ended, over gRPC too; the model is empty where the request reached none",
            REQUEST,
            SECONDS,
        )
        self.models = {""}  # that were known since the process began, and "" for requests that reach none
        registry.register(
            CounterOfMany(
                f"{PREFIX}_requests",
                "requests, by the HTTP status of how they ended",
                REQUEST,
                self._requests,
            )
        )
        self.queue_wait = Histogram(
            f"{PREFIX}_queue_seconds", "time that requests waited for a slot at a pod", ("model",), SECONDS
        )
        self.batch_rows = Histogram(f"{PREFIX}_batch_rows", "rows of each call to a pod", ("model",), ROWS)
        self.several = (
            Histogram(
                f"{PREFIX}_first_answer_seconds",
                "time until the first answer of a stream was sent",
                ("front", "model"),
                SECONDS,
            ),
            Histogram(
                f"{PREFIX}_between_answers_seconds",
                "time between two answers of a stream",
                ("front", "model"),
                SECONDS,
            ),
        )
        for family in (self.requests, self.queue_wait, self.batch_rows, *self.several):
            registry.register(family)
        self.dispatches = Counter(
            f"{PREFIX}_dispatches",
            "calls to pods, by the reason why they left the queue",
            ("model", "reason"),
            registry=registry,
        )
        self.returned = Counter(
            f"{PREFIX}_returned",
            "requests put back into their queue, by what happened to them",
            ("model", "outcome"),
            registry=registry,
        )
        in_flight = Gauge(
            f"{PREFIX}_in_flight", "requests that are being answered", ("front",), registry=registry
        )
        self.http = FrontMetrics("http", self.requests, self.several, in_flight)
        self.grpc = FrontMetrics("grpc", self.requests, self.several, in_flight)
        self.jobs = FrontMetrics("job", self.requests, self.several, in_flight)
        registry.register(AccessLines(PREFIX, access))
        self.traced: Counts[str] = Counts()
        registry.register(TracedCalls(PREFIX, self.traced))
        self.statistics = Statistics()

    def _requests(self) -> Values:
        """The requests of the histogram, without its buckets, and 0 for the usual statuses of all models."""
        usual: dict[tuple[str, ...], None] = dict.fromkeys(product(FRONTS, self.models, STATUSES))
        for values in [*usual, *(values for values in self.requests.seen() if values not in usual)]:
            yield values, self.requests.total(values)

    @property
    def in_flight(self) -> int:
        """Requests that are being answered, on all fronts."""
        return self.http.in_flight + self.grpc.in_flight + self.jobs.in_flight

    def watch(self, http: HttpServer, callers: Callers, streams: InferStreams) -> None:
        """Show what the ports of HTTP and of gRPC carry, and what is open there."""
        carried = {"http": http.carried, "grpc": callers.carried}
        self.registry.register(Traffic(PREFIX, carried, {"http": http.open}, {"grpc": streams.open}))

    def lane(self, model: str) -> LaneMetrics:
        """The observer of one lane of a model."""
        self.models.add(model)
        self.requests.labels("http", model, "200")
        return LaneMetrics(self, model)


class Chosen(Protocol):
    """A version that counts its calls by itself; see `routing/traffic/`."""

    def ended(self, call: Any, status: int, seconds: float) -> None:
        """Count a call, as `FrontMetrics.answered`."""


class Call(Protocol):
    """What is counted of a call: its model, "" or one that a pod listed, and "ok" or the label of its error.

    `chosen` is its version, if that counts calls by itself.
    """

    model: str
    kind: str

    @property
    def chosen(self) -> Chosen | None:
        """See above."""


class FrontMetrics:
    """Counts the requests of one front.

    Args:
        front: "http", "grpc", or "job" for what runs for a job.
        requests, several, in_flight: the families of all fronts; `several` has the times of first answers, and those
            between answers.

    `in_flight` is the number of requests that arrived and are not answered yet; the front's edge adds to it. `note` gets
    those that ended with an error, or took `slow_s` seconds.
    """

    def __init__(
        self, front: str, requests: Histogram, several: tuple[Histogram, Histogram], in_flight: Gauge
    ) -> None:
        self.front = front
        self.requests = requests
        self.several = several
        self.slow_s = inf
        self.note: Callable[[str, Any, int, float], None] | None = None
        self.in_flight = 0
        in_flight.labels(front).set_function(lambda: self.in_flight)
        self._children: dict[tuple[str, int], Observations] = {}

    def answered(self, call: Call, status: int, seconds: float) -> None:
        """Count a request that ended after `seconds`.

        `status` is the HTTP status of its end, over gRPC too, so that one query counts the errors of both fronts.
        """
        self.in_flight -= 1
        key = (call.model, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self.requests.labels(self.front, call.model, str(status))
        child.observe(seconds)
        if call.chosen is not None:
            call.chosen.ended(call, status, seconds)
        if (call.kind != "ok" or seconds >= self.slow_s) and self.note is not None:
            self.note(self.front, call, status, seconds)

    def show(self, model: str, status: int, seconds: float, trace_id: str) -> None:
        """Name the trace of a request that was counted just now."""
        self._children[model, status].show(seconds, trace_id)


class LaneMetrics:
    """Counts what a lane of a model does; an `Observer`.

    `version` is the version of requests that name none, and do not get as far as a pod.
    """

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.version = ""
        self._model, self._statistics = model, metrics.statistics
        self.queue_wait = metrics.queue_wait.labels(model)
        self.batch_rows = metrics.batch_rows.labels(model)
        self._reasons = {reason: metrics.dispatches.labels(model, reason.value) for reason in Reason}
        self._outcomes = {outcome: metrics.returned.labels(model, outcome.value) for outcome in Outcome}

    def dispatched(self, batch: Batch, now: float) -> None:
        """Count a batch that left."""
        self._reasons[batch.reason].inc()
        self.batch_rows.observe(batch.rows)
        for job in batch.jobs:
            self.queue_wait.observe(now - job.arrived)

    def answered(self, ran: Ran, requests: int, rows: int, took: float, waited: float) -> None:
        """See `Observer`."""
        key = (self._model, ran.version)
        counters = self._statistics.counters.get(key) or self._statistics.of(*key)
        counters.answered(requests, rows, took, waited, ran.times, ran.rows)

    def failed(self, version: str, requests: int, took: float) -> None:
        """See `Observer`."""
        self._statistics.of(self._model, version or self.version).failed(requests, took)

    def returned(self, outcome: Outcome, jobs: int) -> None:
        """Count jobs that were put back into their lane."""
        self._outcomes[outcome].inc(jobs)
