"""The metrics of jobs, read when Prometheus asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from time import time

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from inferencehub.gateway.jobs.record import State, model_of
from inferencehub.gateway.jobs.running.worker import Worker
from inferencehub.gateway.jobs.store import Waiting
from inferencehub.gateway.metrics import PREFIX


class JobsCollector:
    """The families.

    Args:
        worker: runs the jobs.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> list[Metric]:
        """All families. Each gateway tells what waits in the store that all of them share."""
        waiting = GaugeMetricFamily(
            f"{PREFIX}_jobs_waiting", "jobs in the store that may run and wait", labels=["model"]
        )
        oldest = GaugeMetricFamily(
            f"{PREFIX}_jobs_oldest_seconds", "time since the oldest of them came", labels=["model"]
        )
        now = time()
        for model, found in by_model(self._worker.waiting).items():
            waiting.add_metric([model], found.jobs)
            oldest.add_metric([model], max(0.0, now - found.oldest))
        ended = CounterMetricFamily(
            f"{PREFIX}_jobs_ended", "jobs whose result this gateway has kept", labels=["model", "state"]
        )
        # A rate has no value before a counter's second sample, so the first one of a kind would not be seen.
        models = {model for model, _ in self._worker.table.routes}
        counts = dict.fromkeys(product(models, (State.SUCCEEDED.value, State.FAILED.value)), 0)
        for key, count in (counts | self._worker.ended).items():
            ended.add_metric(list(key), count)
        again = CounterMetricFamily(
            f"{PREFIX}_jobs_put_back",
            "attempts whose job waits again: its pod was lost, there was no room (busy), or nothing ran (refused)",
            labels=["model", "reason"],
        )
        counts = dict.fromkeys(product(models, ("lost", "busy", "refused")), 0)
        for key, count in (counts | self._worker.put_back).items():
            again.add_metric(list(key), count)
        lost = CounterMetricFamily(
            f"{PREFIX}_jobs_leases_lost",
            "jobs that this gateway took back from one that was lost",
            value=self._worker.leases_lost,
        )
        works = GaugeMetricFamily(
            f"{PREFIX}_jobs_store_up",
            "1 while the store of jobs answers",
            value=float(self._worker.store_works),
        )
        return [waiting, oldest, ended, again, lost, works]


def by_model(waiting: Mapping[str, Waiting]) -> dict[str, Waiting]:
    """What waits for each model, whatever its version."""
    found: dict[str, Waiting] = {}
    for lane, one in waiting.items():
        before = found.get(model_of(lane), Waiting(0, one.oldest))
        found[model_of(lane)] = Waiting(before.jobs + one.jobs, min(before.oldest, one.oldest))
    return found
