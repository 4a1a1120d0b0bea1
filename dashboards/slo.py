"""SLO: are the objectives held, and how fast is the budget used up? It needs the chart's PrometheusRule."""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

BY = "by (namespace, app_kubernetes_io_instance)"
WINDOWS = ("5m", "30m", "1h", "6h")
LEGEND = "{{namespace}} {{app_kubernetes_io_instance}}"


def burn(what: str, objective: str) -> tuple[Query, ...]:
    """How many times as fast as allowed the budget is used up, over each window."""
    return tuple(
        Query(
            f"inferencehub:requests_{what}:ratio_rate{window}{{OF}} / (1 - inferencehub_objective_{objective}{{OF}})",
            window,
        )
        for window in WINDOWS
    )


def left(part: str, whole: str, objective: str) -> tuple[Query, ...]:
    """The part of 30 days' budget that is left."""
    used = f"sum {BY} (sum_over_time(inferencehub:{part}:rate5m{{OF}}[30d]))"
    every = f"clamp_min(sum {BY} (sum_over_time(inferencehub:{whole}:rate5m{{OF}}[30d])), 1e-9)"
    return (Query(f"1 - {used} / {every} / (1 - inferencehub_objective_{objective}{{OF}})", LEGEND),)


def row(name: str, objective: str, what: str, part: str, whole: str, text: str) -> tuple[Panel, ...]:
    """The panels of one objective."""
    good = f"1 - inferencehub:requests_{what}:ratio_rate1h{{OF}}"
    return (
        Panel(f"{name}: objective", f"The share of {text} that is promised", (Query(f"inferencehub_objective_{objective}{{OF}}", LEGEND),), "percentunit", "stat", 6),
        Panel(f"{name}: last hour", f"The share of {text}", (Query(good, LEGEND),), "percentunit", "stat", 6),
        Panel(f"{name}: budget left", "Of what 30 days may cost; below 0 the objective is missed", left(part, whole, objective), "percentunit", "stat", 6, limits=(0.5, 0.1), negative=True),
        Panel(f"{name}: burn rate now", "1 uses the budget up in 30 days, 14.4 in two", (Query(f"max({burn(what, objective)[2].expr})"),), "short", "stat", 6, limits=(1, 6)),
        Panel(f"{name}: burn rate", "Alerts: 14.4 over an hour and 5 minutes, 6 over six hours and 30 minutes", burn(what, objective), width=12),
        Panel(f"{name}: budget left over time", "It rises as bad days leave the 30", left(part, whole, objective), "percentunit", width=12, negative=True),
    )  # fmt: skip


SLO = Board(
    "slo",
    "SLO",
    "Are the objectives held, and how fast is the budget used up? It needs the chart's PrometheusRule",
    {
        "Availability": row(
            "Availability",
            "availability",
            "failed",
            "requests_failed",
            "requests",
            "requests that do not fail",
        ),
        "Latency": row("Latency", "latency", "slow", "requests_slow", "answers", "answers that come in time"),
    },
)
