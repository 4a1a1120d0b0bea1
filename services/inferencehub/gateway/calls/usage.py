"""What callers have used, by tenant, key and day: as metrics, and for the tenants themselves.

Each gateway counts the calls that it has answered. Prometheus adds them up over gateways and restarts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
from prometheus_client.core import CounterMetricFamily

from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.key_file import OTHER
from inferencehub.gateway.calls.exchange import Exchange

MOST_DAYS = 31  # kept, with today
MOST_CALLERS = 10_000  # counted apart; more share one count
LABELS = ("tenant", "caller")
PREFIX = "inferencehub_gateway_usage"


class Used(msgspec.Struct):
    """What was used: calls that came, rows that were answered, seconds of the models' time for them, bytes of requests."""

    calls: int = 0
    rows: int = 0
    compute: float = 0.0
    bytes: int = 0

    def add(self, other: Used) -> None:
        """Count what another has counted, too."""
        self.calls += other.calls
        self.rows += other.rows
        self.compute += other.compute
        self.bytes += other.bytes


Name = tuple[str, str]  # of a tenant, and of a caller


class Usage:
    """Counts calls. It is also a collector of metrics, whose labels are those of the file of keys.

    Holders of tokens count as the caller "other" of their tenant: there may be any number of them.
    """

    def __init__(self) -> None:
        self._days: dict[str, dict[Name, Used]] = {}
        self._before: dict[Name, Used] = {}  # days that are not kept any more
        self._today: dict[Name, Used] = {}
        self._day = ""
        self._ends = 0.0  # when the day is over, in Unix time

    def ended(self, exchange: Exchange, now: float) -> None:
        """Count a call that has ended, if its caller is known; `now` is Unix time."""
        caller = exchange.caller
        if not caller.id:
            return
        if now >= self._ends:
            self._begin(now)
        name = (caller.tenant, caller.id if caller.listed else OTHER)
        used = self._today.get(name)
        if used is None:
            used = self._new(name)
        used.calls += 1
        used.bytes += exchange.size
        job = exchange.job
        if job is not None and job.trip.rows:
            used.rows += job.rows
            used.compute += job.trip.compute * job.rows / job.trip.rows

    def _begin(self, now: float) -> None:
        self._day = datetime.fromtimestamp(now, UTC).date().isoformat()
        self._ends = (now // 86_400 + 1) * 86_400
        self._today = self._days.setdefault(self._day, {})
        while len(self._days) > MOST_DAYS:
            for name, used in self._days.pop(min(self._days)).items():
                self._before.setdefault(name, Used()).add(used)

    def _new(self, name: Name) -> Used:
        if len(self._today) >= MOST_CALLERS:
            name = (OTHER, OTHER)
        return self._today.setdefault(name, Used())

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
            for day, names in sorted(self._days.items())
            for (tenant, name), used in sorted(names.items())
            if tenant == caller.tenant and (tenant or name == own)
        ]

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The metrics, since the process began."""
        total: dict[Name, Used] = {}
        for names in (self._before, *self._days.values()):
            for name, used in names.items():
                total.setdefault(name, Used()).add(used)
        for what, text in (
            ("calls", "calls of callers"),
            ("rows", "rows that were answered"),
            ("compute_seconds", "time of models for these rows"),
            ("bytes", "bytes of requests"),
        ):
            family = CounterMetricFamily(f"{PREFIX}_{what}", text, labels=LABELS)
            for name, used in total.items():
                family.add_metric(name, getattr(used, what.partition("_")[0]))
            yield family
