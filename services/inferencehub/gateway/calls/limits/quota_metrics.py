"""What this gateway knows of quotas of a day, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice

from prometheus_client.core import Metric

from inferencehub.core.process.scrape.text import LINES
from inferencehub.core.process.scrape.written import CounterOfMany, GaugeOfMany, Values, Written
from inferencehub.core.values.errors import Kind
from inferencehub.gateway.calls.limits.lease import Lease
from inferencehub.gateway.calls.limits.quotas import DAY_S

P = "inferencehub_gateway_quota"
MOST = 10_000  # tenants and callers with a quota that are counted apart
LABELS = ("of", "tenant", "caller", "unit")
GAUGES = (
    ("", "the quota of a day"),
    ("_used", "of it, over all gateways, as this one knows"),
    ("_leased", "of it, by this gateway for calls that come"),
)
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
        self._sums: dict[tuple[str, ...], list[int]] = {}  # of what `GAUGES` tell, by the values of `LABELS`
        self._families: tuple[Written, ...] = (
            *(
                GaugeOfMany(P + name, text, LABELS, partial(self._sums_at, at))
                for at, (name, text) in enumerate(GAUGES)
            ),
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
        for _ in self._sum_up():
            pass
        for family in self._families:
            yield from family.collect()

    def text(self, openmetrics: bool) -> Iterator[str]:
        """See `Written`."""
        for _ in self._sum_up():
            yield ""
        for family in self._families:
            yield from family.text(openmetrics)

    def _key(self, lease: Lease, reason: str) -> tuple[str, ...]:
        key = (*labels_of(lease), reason)
        if key not in self._refused and len(self._refused) >= MOST * len(REASONS):
            return (lease.quota.kind, *REST, lease.quota.unit, reason)
        return key

    def _sum_up(self) -> Iterator[None]:
        """Find `_sums`, with a pause now and then. Holders of tokens of a tenant are one caller."""
        today, sums = int(self._clock()) // DAY_S, dict[tuple[str, ...], list[int]]()
        leases = iter(list(self._leases.values()))
        while some := [*islice(leases, LINES)]:
            for lease in some:
                if lease.day == today:
                    of = sums.setdefault(labels_of(lease), [0] * len(GAUGES))
                    of[0] += lease.most
                    of[1] += lease.most - lease.remaining
                    of[2] += lease.left
            yield
        self._sums = sums

    def _sums_at(self, place: int) -> Values:
        return [(labels, of[place]) for labels, of in self._sums.items()]


def labels_of(lease: Lease) -> tuple[str, ...]:
    """The values of `LABELS`."""
    return (lease.quota.kind, *lease.owner, lease.quota.unit)
