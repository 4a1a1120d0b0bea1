"""The inference service's Prometheus metrics. Labels contain only models of the repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain

from prometheus_client import Counter, Gauge
from prometheus_client.core import Metric

from inferencehub.core.lane.batch import Batch, Outcome, Reason
from inferencehub.core.lane.slot import Ran
from inferencehub.core.process.histogram import Histogram, Observations
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.metrics import ROWS, SECONDS, AccessLines, new_registry
from inferencehub.core.values.statistics import Counters
from inferencehub.inference.own_metrics import OwnMetrics
from inferencehub.model.metrics import Family

P = "inferencehub_inference"
RESULTS = {True: "ok", False: "failed"}
OWN = "inferencehub_model_"  # before what models measure themselves


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
        self.loads = Counter(
            f"{P}_model_loads",
            "loads of model versions, by whether they succeeded",
            ("model", "result"),
            registry=registry,
        )
        registry.register(AccessLines(P, access))
        self.shown = ShownMetrics()
        registry.register(self.shown)
        self.gauges = (self.waiting, self.running, self.slots, self.slots_free, self.ready)

    def lane(self, model: str, version: str) -> LaneMetrics:
        """The metrics of one model version."""
        return LaneMetrics(self, model, version, self.shown.of(model, version))

    def forget(self, model: str, version: str) -> None:
        """Show no more metrics of a model version, which is not there any more. Its loads stay counted."""
        labels = (model, version)
        for family in (self.calls, self.queue_wait, self.compute, self.batch_rows):
            family.forget(*labels)
        with suppress(KeyError):  # forgotten before
            for reason in Reason:
                self.dispatches.remove(*labels, reason.value)
            for gauge in (self.run_apart, *self.gauges):
                gauge.remove(*labels)


class LaneMetrics:
    """The metrics of one model version; `own` are those that it measures itself. It is the `Observer` of the model's lane."""

    def __init__(self, metrics: Metrics, model: str, version: str, own: OwnMetrics) -> None:
        self.own = own
        labels = (model, version)
        self._calls, self._labels = metrics.calls, labels
        self.counters = Counters()
        self._statuses: dict[str, Observations] = {}
        self.queue_wait = metrics.queue_wait.labels(*labels)
        self.compute = metrics.compute.labels(*labels)
        self.batch_rows = metrics.batch_rows.labels(*labels)
        self._reasons = {reason: metrics.dispatches.labels(*labels, reason.value) for reason in Reason}
        self.run_apart = metrics.run_apart.labels(*labels)
        self._gauges = [family.labels(*labels) for family in metrics.gauges]
        self._loads = {done: metrics.loads.labels(model, result) for done, result in RESULTS.items()}

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

    def loads(self, done: bool) -> None:
        """Count a load that has ended, and whether the model serves now."""
        self._loads[done].inc()

    def called(self, status: str, seconds: float) -> None:
        """Count a call that has ended, with its status and its time in seconds."""
        child = self._statuses.get(status)
        if child is None:
            child = self._statuses[status] = self._calls.labels(*self._labels, status)
        child.observe(seconds)


class ShownMetrics:
    """The metrics of all models, as a collector of a registry."""

    def __init__(self) -> None:
        self._models: list[OwnMetrics] = []

    def of(self, model: str, version: str) -> OwnMetrics:
        """Those of one model version, empty."""
        own = OwnMetrics(model, version, self._models)
        self._models.append(own)
        return own

    def drop(self, own: OwnMetrics) -> None:
        """The model version is closed."""
        self._models.remove(own)

    def collect(self) -> Iterator[Metric]:
        """All metrics, each name once. Of a version that is loaded again, those of the newer one."""
        models = {(own.model, own.version): own for own in self._models}.values()
        for name in sorted(set(chain.from_iterable([own.kept for own in models]))):
            shown: Metric | None = None
            for own in models:
                kept = own.kept.get(name)
                if kept is None:
                    continue
                kind = kept.declared.kind
                shown = shown or Metric(f"{OWN}{name}", kept.declared.text, kind)
                about = {"model": own.model, "version": own.version}
                names = (*kept.declared.labels, *(("instance",) if kind == "gauge" else ()))
                for values, numbers in kept.series.items():
                    labels = {**about, **dict(zip(names, values, strict=True))}
                    for suffix, more, number in samples(kept.declared, numbers):
                        shown.add_sample(f"{OWN}{name}{suffix}", {**labels, **more}, number)
            if shown is not None:
                yield shown


def samples(declared: Family, numbers: Sequence[float]) -> Iterator[tuple[str, dict[str, str], float]]:
    """The samples of one set of label values: suffix of the name, further labels, value."""
    if declared.kind != "histogram":
        yield ("_total" if declared.kind == "counter" else ""), {}, numbers[0]
        return
    *counts, total = numbers
    bounds = [*map(str, declared.buckets), "+Inf"]
    for bound, count in zip(bounds, accumulate(counts), strict=True):
        yield "_bucket", {"le": bound}, count
    yield "_count", {}, sum(counts)
    yield "_sum", {}, total
