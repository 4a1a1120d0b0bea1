"""What callers have used, by tenant, key and day: as metrics, and for the tenants themselves.

Each gateway counts the calls that it has answered. Prometheus adds them up over gateways and restarts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import msgspec
from prometheus_client.core import Metric

from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.key_file import OTHER
from inferencehub.core.process.scrape.written import CounterOfMany, Values, Written
from inferencehub.core.values.errors import Kind
from inferencehub.gateway.calls.call_limits import CallLimits
from inferencehub.gateway.calls.exchange import Exchange

MOST_DAYS = 31  # kept, with today
MOST_CALLERS = 10_000  # of all tenants, counted apart
LABELS = ("tenant", "caller")
REST = ("", "")  # labels of what did not fit; each caller has an id
PREFIX = "inferencehub_gateway_usage"
FAMILIES = (
    ("calls", "calls of callers"),
    ("rows", "rows that were answered"),
    ("compute_seconds", "time of models for these rows"),
    ("bytes", "bytes of requests"),
    ("refused", "calls that were refused with 429"),
    ("failed", "calls that failed through no fault of their caller"),
)
FAILED = {kind.label for kind in Kind if kind.http >= 500 and kind is not Kind.UNSUPPORTED}


class Used(msgspec.Struct):
    """What was used: calls that came, rows that were answered, seconds of the models' time for them, bytes of requests.

    `refused` are calls of these with 429, and `failed` those that failed through no fault of the caller.
    """

    calls: int = 0
    rows: int = 0
    compute: float = 0.0
    bytes: int = 0
    refused: int = 0
    failed: int = 0


class Usage(Written):
    """Counts calls. It is also a collector of metrics.

    Holders of tokens count as the caller "other" of their tenant, for there may be any number of them. What does not fit
    into the limits is counted as a whole: no tenant sees it.

    Args:
        limits: what callers may use; None if there are no limits.
    """

    def __init__(self, limits: CallLimits | None = None) -> None:
        self._days: dict[str, dict[str, dict[str, Used]]] = {}  # by day, tenant and caller
        self._totals: dict[tuple[str, str], Used] = {}
        self._rest = Used()
        self._today: dict[tuple[str, str], tuple[Used, Used]] = {}  # what to add to
        self.limits = limits
        self._families = [
            CounterOfMany(f"{PREFIX}_{what}", text, LABELS, partial(self._totals_of, what.partition("_")[0]))
            for what, text in FAMILIES
        ]
        self._ends = 0.0  # when the day is over, in Unix time

    def ended(self, exchange: Exchange, now: float) -> None:
        """Count a call that has ended, if its caller is known; `now` is Unix time."""
        caller = exchange.caller
        if not caller.id:
            return
        if now >= self._ends:
            self._begin(now)
        name = (caller.tenant, caller.id if caller.listed else OTHER)
        for used in self._today.get(name) or self._add(name):
            used.calls += 1
            used.bytes += exchange.size
            if exchange.kind != "ok":
                used.refused += exchange.kind == Kind.BUSY.label
                used.failed += exchange.kind in FAILED
            job = exchange.job
            if job is not None and job.trip.rows:
                used.rows += job.rows
                used.compute += job.trip.compute * job.rows / job.trip.rows

    def _begin(self, now: float) -> None:
        self._ends = (now // 86_400 + 1) * 86_400
        self._days[datetime.fromtimestamp(now, UTC).date().isoformat()] = {}
        self._today = {}
        if len(self._days) > MOST_DAYS:
            del self._days[min(self._days)]

    def _add(self, name: tuple[str, str]) -> tuple[Used, ...]:
        if len(self._today) >= MOST_CALLERS or (
            name not in self._totals and len(self._totals) >= MOST_CALLERS
        ):
            return (self._rest,)
        tenant, caller = name
        own = Used()
        self._days[max(self._days)].setdefault(tenant, {})[caller] = own
        both = self._today[name] = own, self._totals.setdefault(name, Used())
        return both

    def of(self, caller: Caller) -> list[dict[str, str | int | float]]:
        """What a caller may know: each day of their tenant, or of their own key if it has no tenant.

        Holders of tokens without a tenant are counted together, so they know nothing.
        """
        own = caller.id if caller.listed else ""
        return [
            {
                "day": day,
                "caller": name,
                "calls": used.calls,
                "rows": used.rows,
                "compute_ms": round(used.compute * 1e3, 3),
                "bytes": used.bytes,
            }
            for day, tenants in sorted(self._days.items())
            for name, used in sorted(tenants.get(caller.tenant, {}).items())
            if caller.tenant or name == own
        ]

    async def quotas_of(self, caller: Caller) -> list[dict[str, str | int | None]]:
        """How the caller's quotas stand today, over all gateways; see `Standing`."""
        standing = [] if self.limits is None else await self.limits.quotas_of(caller)
        return [one._asdict() for one in standing]

    def collect(self) -> Iterator[Metric]:
        """The metrics, since the process began."""
        for family in self._families:
            yield from family.collect()

    def text(self, openmetrics: bool) -> Iterator[str]:
        """See `Written`."""
        for family in self._families:
            yield from family.text(openmetrics)

    def _totals_of(self, field: str) -> Values:
        for name, used in [*self._totals.items(), (REST, self._rest)]:
            yield name, getattr(used, field)
