"""The scaler's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import monotonic

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily

from inferencehub.core.process.metrics import Reloaded, Reloads, new_registry
from inferencehub.scaler.demand.gateways import Release
from inferencehub.scaler.demand.total import Total

P = "inferencehub_scaler"
LABELS = ["namespace", "release"]


class Metrics:
    """All metrics of the scaler, in their own registry.

    Args:
        totals: the demand by release; the scaler changes this mapping while it runs.
        ends: when each certificate that the scaler keeps for the tiers ends, by what it is for; likewise.
        certificate: of the ops port; None if it speaks in plain.
    """

    def __init__(
        self,
        totals: Mapping[Release, Total],
        ends: Mapping[str, datetime],
        certificate: Reloaded | None = None,
    ) -> None:
        self.totals = totals
        self.ends = ends
        self.registry = new_registry(P)
        self.calls = Counter(
            f"{P}_calls", "calls to the metrics API, by status", ("status",), registry=self.registry
        )
        self.moves = Counter(
            f"{P}_moves",
            "times a pool was set to 0 or to 1 pods",
            ("pool", "replicas"),
            registry=self.registry,
        )
        self.registry.register(Reloads(P, certificate))
        self.registry.register(self)

    def called(self, status: int) -> None:
        """Count an answer of the metrics API."""
        self.calls.labels(str(status)).inc()

    def moved(self, pool: str, replicas: int) -> None:
        """Count a step of an activator."""
        self.moves.labels(pool, str(replicas)).inc()

    def collect(self) -> list[GaugeMetricFamily]:
        """The present values for each release."""
        demand = GaugeMetricFamily(
            f"{P}_demand", "demand over all gateways, in pods, mean of 15 s", labels=[*LABELS, "pool"]
        )
        age = GaugeMetricFamily(f"{P}_age_seconds", "time since all gateways have answered", labels=LABELS)
        gateways = GaugeMetricFamily(f"{P}_gateways", "gateways that accept requests", labels=LABELS)
        answered = GaugeMetricFamily(f"{P}_gateways_answered", "how many of them answered", labels=LABELS)
        for release, total in self.totals.items():
            now = monotonic()
            reading, heard = total.read(now), total.heard(now)
            if reading is not None:
                for pool, pods in reading.pools.items():
                    demand.add_metric([*release, pool], pods)
            if heard is not None:  # also without a reading: an alert is to say that there is none
                age.add_metric([*release], heard.age_s)
                gateways.add_metric([*release], heard.gateways)
                answered.add_metric([*release], heard.answered)
        ends = GaugeMetricFamily(
            f"{P}_certificate_end_timestamp_seconds",
            "when a certificate ends that the scaler keeps, in seconds since 1970",
            labels=["certificate"],
        )
        for which, at in self.ends.items():
            ends.add_metric([which], at.timestamp())
        return [demand, age, gateways, answered, ends]
