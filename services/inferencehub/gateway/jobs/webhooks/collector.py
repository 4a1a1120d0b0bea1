"""The metric of webhooks, read when Prometheus asks for it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from inferencehub.gateway.metrics import PREFIX

OUTCOMES = ("delivered", "retried", "given_up")


class WebhooksCollector:
    """The family.

    Args:
        outcomes: how attempts ended, counted.
    """

    def __init__(self, outcomes: Mapping[str, int]) -> None:
        self._outcomes = outcomes

    def collect(self) -> list[Metric]:
        """The family, with all outcomes from the beginning."""
        attempts = CounterMetricFamily(
            f"{PREFIX}_jobs_webhooks", "attempts to deliver webhooks of jobs", labels=["outcome"]
        )
        for outcome in OUTCOMES:
            attempts.add_metric([outcome], self._outcomes.get(outcome, 0))
        return [attempts]
