"""The times of the answers to one call whose model gives several: until the first, and between two."""

from __future__ import annotations

from time import monotonic

from inferencehub.core.process.histogram import Observations
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.metrics import FrontMetrics


class AnswerTimes:
    """See the module's text.

    Args:
        exchange: the call.
        metrics: where its front counts.
    """

    __slots__ = ("_between", "_exchange", "_last", "_metrics")

    def __init__(self, exchange: Exchange, metrics: FrontMetrics) -> None:
        self._exchange = exchange
        self._metrics = metrics
        self._last = 0.0
        self._between: Observations | None = None  # None until the first answer

    def sent(self) -> None:
        """Count an answer that was sent just now."""
        now = monotonic()
        if self._between is None:
            front = self._metrics.front
            first, between = [family.labels(front, self._exchange.model) for family in self._metrics.several]
            first.observe(now - self._exchange.started)
            self._between = between
        else:
            self._between.observe(now - self._last)
        self._last = now

    def delivered(self, weight: int) -> None:
        """Count an answer that was sent just now, and credit its weight."""
        self.sent()
        self._exchange.credit(weight)
