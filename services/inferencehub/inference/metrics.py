"""The inference service's Prometheus metrics. Models are labels, and only models of the repository ever are."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge

from inferencehub.core.lane.batch import Batch, Outcome, Reason
from inferencehub.core.process.histogram import Histogram, Observations
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.metrics import ROWS, SECONDS, AccessLines, new_registry

P = "inferencehub_inference"


class Metrics:
    """All families, in a registry of their own.

    Args:
        access: the log whose dropped lines are counted; None where access lines are off.
    """

    def __init__(self, access: AccessLog | None = None) -> None:
        self.registry = registry = new_registry(P)
        model = ("model", "version")
        self.calls = Histogram(
            f"{P}_call_seconds", "gRPC inference calls by how they ended", (*model, "status"), SECONDS
        )
        self.queue_wait = Histogram(f"{P}_queue_seconds", "wait of calls for an instance", model, SECONDS)
        self.compute = Histogram(f"{P}_compute_seconds", "time of runs", model, SECONDS)
        self.batch_rows = Histogram(f"{P}_batch_rows", "rows of each run", model, ROWS)
        for family in (self.calls, self.queue_wait, self.compute, self.batch_rows):
            registry.register(family)
        self.dispatches = Counter(
            f"{P}_dispatches", "runs by why they left the queue", (*model, "reason"), registry=registry
        )
        self.run_apart = Counter(
            f"{P}_run_apart", "calls run alone after their batch failed", model, registry=registry
        )
        self.waiting = Gauge(f"{P}_queue_length", "calls that wait", model, registry=registry)
        self.running = Gauge(f"{P}_running", "calls that run", model, registry=registry)
        self.slots = Gauge(f"{P}_slots", "instances", model, registry=registry)
        self.slots_free = Gauge(f"{P}_slots_free", "instances that are free", model, registry=registry)
        self.ready = Gauge(f"{P}_model_ready", "1 while the model serves", model, registry=registry)
        registry.register(AccessLines(P, access))

    def lane(self, model: str, version: str) -> LaneMetrics:
        """The children of one model version."""
        return LaneMetrics(self, model, version)


class LaneMetrics:
    """Counts what one model's lane does; an `Observer`."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        labels = (model, version)
        self._calls, self._labels = metrics.calls, labels
        self._statuses: dict[str, Observations] = {}
        self.queue_wait = metrics.queue_wait.labels(*labels)
        self.compute = metrics.compute.labels(*labels)
        self.batch_rows = metrics.batch_rows.labels(*labels)
        self._reasons = {reason: metrics.dispatches.labels(*labels, reason.value) for reason in Reason}
        self.run_apart = metrics.run_apart.labels(*labels)
        self._gauges = [
            family.labels(*labels)
            for family in (metrics.waiting, metrics.running, metrics.slots, metrics.slots_free, metrics.ready)
        ]

    def watch(self, *readings: Callable[[], float]) -> None:
        """Read waiting, running, slots, free slots and ready, in this order, whenever metrics are asked for."""
        for gauge, reading in zip(self._gauges, readings, strict=True):
            gauge.set_function(reading)

    def dispatched(self, batch: Batch, now: float) -> None:
        """Count a batch that left."""
        self._reasons[batch.reason].inc()
        self.batch_rows.observe(batch.rows)
        for job in batch.jobs:
            self.queue_wait.observe(now - job.arrived)

    def returned(self, outcome: Outcome, jobs: int) -> None:
        """Count jobs that were put back."""
        self.run_apart.inc(jobs)

    def called(self, status: str, seconds: float) -> None:
        """Count a call that ended."""
        child = self._statuses.get(status)
        if child is None:
            child = self._statuses[status] = self._calls.labels(*self._labels, status)
        child.observe(seconds)
