"""The gateway's Prometheus metrics. A label's values are bounded: models that pods listed, statuses, and no more."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge
from prometheus_client.core import GaugeMetricFamily

from inferencehub.core.lane.batch import Batch, Outcome, Reason
from inferencehub.core.process.histogram import Histogram, Observations
from inferencehub.core.process.metrics import ROWS, SECONDS, new_registry
from inferencehub.gateway.routing.fleet import Fleet

P = "inferencehub_gateway"


class Metrics:
    """All families, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = new_registry(P)
        self.requests = Histogram(
            f"{P}_request_seconds",
            "HTTP requests by model and status; no model where none was reached",
            ("model", "status"),
            SECONDS,
        )
        self.queue_wait = Histogram(
            f"{P}_queue_seconds", "wait of requests for a place at a pod", ("model",), SECONDS
        )
        self.batch_rows = Histogram(f"{P}_batch_rows", "rows of each call to a pod", ("model",), ROWS)
        for family in (self.requests, self.queue_wait, self.batch_rows):
            registry.register(family)
        self.dispatches = Counter(
            f"{P}_dispatches", "calls to pods by why they left", ("model", "reason"), registry=registry
        )
        self.returned = Counter(
            f"{P}_returned",
            "requests put back into their lane by what happened",
            ("model", "outcome"),
            registry=registry,
        )
        self.in_flight = 0
        in_flight = Gauge(f"{P}_in_flight", "HTTP requests that are being answered", registry=registry)
        in_flight.set_function(lambda: self.in_flight)
        self._children: dict[tuple[str, int], Observations] = {}
        self._observers: dict[str, LaneMetrics] = {}

    def begun(self) -> None:
        """Count a request that came."""
        self.in_flight += 1

    def answered(self, model: str, status: int, seconds: float) -> None:
        """Count a request that was answered; `model` is "" or one that a pod listed."""
        self.in_flight -= 1
        key = (model, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self.requests.labels(model, str(status))
        child.observe(seconds)

    def lane(self, model: str) -> LaneMetrics:
        """The counters of one model's lanes."""
        observer = self._observers.get(model)
        if observer is None:
            observer = self._observers[model] = LaneMetrics(self, model)
        return observer

    def watch(self, fleet: Fleet) -> None:
        """Read queues, slots and pods of `fleet` whenever metrics are asked for."""
        self.registry.register(FleetCollector(fleet))


class LaneMetrics:
    """Counts what one model's lanes do; an `Observer`."""

    def __init__(self, metrics: Metrics, model: str) -> None:
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

    def returned(self, outcome: Outcome, jobs: int) -> None:
        """Count jobs that were put back."""
        self._outcomes[outcome].inc(jobs)


class FleetCollector:
    """Gauges that are read off the fleet at the moment when they are asked for."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def collect(self) -> list[GaugeMetricFamily]:
        """All gauges, summed over a model's lanes."""
        per_model: list[tuple[str, str, Callable[..., float]]] = [
            (f"{P}_queue_length", "requests that wait for a place", lambda lane: len(lane.lane.queue)),
            (f"{P}_running", "requests that pods run", lambda lane: lane.lane.running),
        ]
        families = []
        for name, text, reading in per_model:
            family = GaugeMetricFamily(name, text, labels=["model"])
            sums: dict[str, float] = {}
            for (model, _), lanes in self.fleet.routes.items():
                sums[model] = sums.get(model, 0.0) + sum(reading(lane) for lane in lanes)
            for model, value in sums.items():
                family.add_metric([model], value)
            families.append(family)
        slots = GaugeMetricFamily(
            f"{P}_slots", "instances of a model at the pods that serve it", labels=["model"]
        )
        for (model, version), lanes in self.fleet.routes.items():
            if not version:
                places = {place for lane in lanes for place in lane.places if place.open}
                slots.add_metric([model], sum(place.info.slots for place in places))
        pods = GaugeMetricFamily(f"{P}_backends", "pods by state", labels=["state"])
        for state, count in self.fleet.counts().items():
            pods.add_metric([state.value], count)
        held = GaugeMetricFamily(
            f"{P}_held_bytes", "bytes of requests that are held", self.fleet.bytes_held.held
        )
        return [*families, slots, pods, held]
