"""The inference service's Prometheus metrics. Labels contain only models of the repository."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge

from inferencehub.core.lane.batch import Batch, Outcome, Reason
from inferencehub.core.lane.slot import Ran
from inferencehub.core.process.histogram import Histogram, Observations
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.metrics import ROWS, SECONDS, AccessLines, new_registry
from inferencehub.core.values.statistics import Counters

P = "inferencehub_inference"


class Metrics:
    """All metrics of the service, in their own registry.

    Args:
        access: the access log, whose dropped lines are counted; None if access lines are off.
    """

    def __init__(self, access: AccessLog | None = None) -> None:
        self.registry = registry = new_registry(P)
        model = ("model", "version")
        self.calls = Histogram(
            f"{P}_call_seconds",
            "time of gRPC inference calls, by how they ended",
            (*model, "status"),
            SECONDS,
        )
        self.queue_wait = Histogram(
            f"{P}_queue_seconds", "time that calls waited for an instance", model, SECONDS
        )
        self.compute = Histogram(f"{P}_compute_seconds", "time of runs", model, SECONDS)
        self.batch_rows = Histogram(f"{P}_batch_rows", "rows of each run", model, ROWS)
        for family in (self.calls, self.queue_wait, self.compute, self.batch_rows):
            registry.register(family)
        self.dispatches = Counter(
            f"{P}_dispatches",
            "runs, by the reason why they left the queue",
            (*model, "reason"),
            registry=registry,
        )
        self.run_apart = Counter(
            f"{P}_run_apart", "calls that ran alone after their batch had failed", model, registry=registry
        )
        self.waiting = Gauge(f"{P}_queue_length", "calls that wait", model, registry=registry)
        self.running = Gauge(f"{P}_running", "calls that run", model, registry=registry)
        self.slots = Gauge(f"{P}_slots", "instances", model, registry=registry)
        self.slots_free = Gauge(f"{P}_slots_free", "instances that are free", model, registry=registry)
        self.ready = Gauge(f"{P}_model_ready", "1 while the model serves", model, registry=registry)
        registry.register(AccessLines(P, access))

    def lane(self, model: str, version: str) -> LaneMetrics:
        """The metrics of one model version."""
        return LaneMetrics(self, model, version)


class LaneMetrics:
    """The metrics of one model version. It is the `Observer` of the model's lane."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        labels = (model, version)
        self._calls, self._labels = metrics.calls, labels
        self.counters = Counters()
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
        """Set the functions that the gauges call at each scrape.

        Args:
            readings: functions that return the number of waiting calls, of running calls, of slots and of free slots,
                and whether the model serves (1 or 0), in this order.
        """
        for gauge, reading in zip(self._gauges, readings, strict=True):
            gauge.set_function(reading)

    def dispatched(self, batch: Batch, now: float) -> None:
        """Count a batch that has left the queue."""
        self._reasons[batch.reason].inc()
        self.batch_rows.observe(batch.rows)
        for job in batch.jobs:
            self.queue_wait.observe(now - job.arrived)

    def answered(self, ran: Ran, requests: int, rows: int, took: float, waited: float) -> None:
        """See `Observer`."""
        self.counters.answered(requests, rows, took, waited, ran.times, ran.rows)

    def failed(self, version: str, requests: int, took: float) -> None:
        """See `Observer`."""
        self.counters.failed(requests, took)

    def returned(self, outcome: Outcome, jobs: int) -> None:
        """Count jobs that were put back into the queue."""
        self.run_apart.inc(jobs)

    def called(self, status: str, seconds: float) -> None:
        """Count a call that has ended, with its status and its time in seconds."""
        child = self._statuses.get(status)
        if child is None:
            child = self._statuses[status] = self._calls.labels(*self._labels, status)
        child.observe(seconds)
