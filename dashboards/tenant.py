"""Tenant: who uses what? Only where callers are asked who they are."""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

T = 'OF,tenant=~"$tenant"'
CALLS = f"rate(inferencehub_gateway_usage_calls_total{{{T}}}[WINDOW])"


def used(what: str, by: str = "tenant") -> str:
    """What was used a second, by tenant or by tenant and caller."""
    return f"sum by ({by}) (rate(inferencehub_gateway_usage_{what}_total{{{T}}}[WINDOW]))"


def share(what: str) -> str:
    """A share of a tenant's calls; 0 without calls."""
    return f"{used(what)} / clamp_min(sum by (tenant) ({CALLS}), 1e-9)"


def panel(title: str, about: str, expr: str, unit: str = "short", legend: str = "{{tenant}}") -> Panel:
    """A panel with one query."""
    return Panel(title, about, (Query(expr, legend),), unit, stacked=unit != "percentunit")


USE = (
    panel(
        "Calls",
        "A second. Without a name: callers without a tenant, and what did not fit",
        used("calls"),
        "reqps",
    ),
    panel("Rows", "Rows a second that were answered", used("rows")),
    panel(
        "Compute",
        "Seconds of models a second: how many instances a tenant keeps busy",
        used("compute_seconds"),
    ),
    panel("Bytes", "Of requests", used("bytes"), "Bps"),
    panel("Refused", "Share of a tenant's calls with 429", share("refused"), "percentunit"),
    panel(
        "Failed",
        "Share of a tenant's calls that failed through no fault of theirs",
        share("failed"),
        "percentunit",
    ),
)
CALLERS = (
    panel(
        "Busiest callers by calls",
        "The ten callers with the most calls a second",
        f"topk(10, {used('calls', 'tenant, caller')})",
        "reqps",
        "{{tenant}} {{caller}}",
    ),
    panel(
        "Busiest callers by compute",
        "The ten callers that keep the most instances busy",
        f"topk(10, {used('compute_seconds', 'tenant, caller')})",
        "short",
        "{{tenant}} {{caller}}",
    ),
    Panel(
        "Gateways that share limits",
        "As each of them counts",
        (Query("max by (pod) (inferencehub_gateway_peers{OF})", "{{pod}}"),),
    ),
)
QUOTA = "of, tenant, caller, unit"
QUOTAS = (
    panel(
        "Quotas of today",
        "The share that is used, of quotas that calls have used within minutes; 1 is all of it",
        f"max by ({QUOTA}) (inferencehub_gateway_quota_used{{{T}}}) "
        f"/ max by ({QUOTA}) (inferencehub_gateway_quota{{{T}}})",
        "percentunit",
        "{{of}} {{tenant}} {{caller}} {{unit}}",
    ),
    panel(
        "Refused by quotas",
        "Calls and batches a second, and why",
        f"sum by ({QUOTA}, reason) (rate(inferencehub_gateway_quota_refused_total{{{T}}}[WINDOW]))",
        "reqps",
        "{{tenant}} {{caller}} {{unit}} {{reason}}",
    ),
    Panel(
        "Asks for quotas",
        "What gateways asked the store, a second, and whether it answered",
        (Query("sum by (outcome) (rate(inferencehub_gateway_quota_asks_total{OF}[WINDOW]))", "{{outcome}}"),),
    ),
)
TENANT = Board(
    "tenant",
    "Tenant",
    "Who uses what? It is empty where nobody is asked who they are",
    {"Use": USE, "Callers": CALLERS, "Quotas": QUOTAS},
    ("tenant",),
)
