"""What this gateway knows of quotas of a day, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from prometheus_client.core import Metric

from inferencehub.core.process.scrape.written import CounterOfMany, GaugeOfMany, Values, Written
from inferencehub.core.values.errors import Kind
from inferencehub.gateway.calls.limits.lease import Lease
from inferencehub.gateway.calls.limits.quotas import DAY_S

P = "inferencehub_gateway_quota"
MOST = 10_000  # tenants and callers with a quota that are counted apart
LABELS = ("of", "tenant", "caller", "unit")
REASONS = {Kind.BUSY: "used_up", Kind.TOO_LARGE: "too_large", Kind.NOT_READY: "store"}
OUTCOMES = ("answered", "failed")
REST = ("", "")  # the tenant and the caller of what did not fit


class QuotaMetrics(Written):
    """See the module's text.

    Args:
        leases: those of this gateway; it changes while they are used.
        clock: Unix time.
    """

    def __init__(self, leases: Mapping[tuple[str, str, str], Lease], clock: Callable[[], float]) -> None:
        self._leases = leases
        self._clock = clock
        self._refused: dict[tuple[str, ...], int] = {}
        self._asks = dict.fromkeys(OUTCOMES, 0)
        gauges = (
            ("", "the quota of a day", lambda lease: lease.most),
            (
                "_used",
                "of it, over all gateways, as this one knows",
                lambda lease: lease.most - lease.remaining,
            ),
            ("_leased", "of it, by this gateway for calls that come", lambda lease: lease.left),
        )
        self._families: tuple[Written, ...] = (
            *(GaugeOfMany(P + name, text, LABELS, partial(self._sums, of)) for name, text, of in gauges),
            CounterOfMany(
                f"{P}_refused",
                "calls and batches that a quota refused",
                (*LABELS, "reason"),
                lambda: list(self._refused.items()),
            ),
            CounterOfMany(
                f"{P}_asks",
                "times that the store of quotas was asked",
                ("outcome",),
                lambda: [((outcome,), count) for outcome, count in self._asks.items()],
            ),
        )

    def begin(self, lease: Lease) -> None:
        """A quota is used here: its refusals are counted from 0."""
        for reason in REASONS.values():
            self._refused.setdefault(self._key(lease, reason), 0)

    def refused(self, lease: Lease, kind: Kind) -> None:
        """A quota has refused a call with this kind of error."""
        key = self._key(lease, REASONS[kind])
        self._refused[key] = self._refused.get(key, 0) + 1

    def asked(self, answered: bool) -> None:
        """The store was asked for a quota, and has answered or not."""
        self._asks[OUTCOMES[not answered]] += 1

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        for family in self._families:
            yield from family.collect()

    def text(self, openmetrics: bool) -> Iterator[str]:
        """See `Written`."""
        for family in self._families:
            yield from family.text(openmetrics)

    def _key(self, lease: Lease, reason: str) -> tuple[str, ...]:
        key = (*labels_of(lease), reason)
        if key not in self._refused and len(self._refused) >= MOST * len(REASONS):
            return (lease.quota.kind, *REST, lease.quota.unit, reason)
        return key

    def _sums(self, of: Callable[[Lease], int]) -> Values:
        """By owner and unit: holders of tokens of a tenant are one caller."""
        today, sums = int(self._clock()) // DAY_S, dict[tuple[str, ...], int]()
        for lease in self._leases.values():
            if lease.day == today:
                key = labels_of(lease)
                sums[key] = sums.get(key, 0) + of(lease)
        return sums.items()


def labels_of(lease: Lease) -> tuple[str, ...]:
    """The values of `LABELS`."""
    return (lease.quota.kind, *lease.owner, lease.quota.unit)
