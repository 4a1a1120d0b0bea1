"""Versions and traffic: which version gets which calls, how does each do, and does what is loaded load?"""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

M = 'OF,model=~"$model"'
OF_VERSION = "{{model}} {{version}}"
SECONDS = "inferencehub_gateway_traffic_seconds"
EACH = "sum by (model, version)"
CALLS = f"{EACH} (rate({SECONDS}_count{{{M}}}[WINDOW]))"
LOADS = "inferencehub_inference_model_loads_total"


def share(outcome: str) -> tuple[Query, ...]:
    """The share of each version's calls that ended so; 0 without calls."""
    ended = f'{EACH} (rate({SECONDS}_count{{{M},outcome="{outcome}"}}[WINDOW]))'
    return (Query(f"{ended} / clamp_min({CALLS}, 1e-9)", OF_VERSION),)


def quantile(part: str) -> tuple[Query, ...]:
    """A quantile of the time of each version's calls that succeeded."""
    rate = f'sum by (model, version, le) (rate({SECONDS}_bucket{{{M},outcome="ok"}}[WINDOW]))'
    return (Query(f"histogram_quantile({part}, {rate})", OF_VERSION),)


NOW = (
    Panel(
        "Rolled back",
        "Versions that lost their weight at any gateway, because they failed too often or were too slow",
        (
            Query(
                f"sum(max by (namespace, app_kubernetes_io_instance, model, version)"
                f" (inferencehub_gateway_traffic_rolled_back{{{M}}})) or vector(0)"
            ),
        ),
        "short",
        "stat",
        6,
        limits=(0.5, 1),
    ),
    Panel(
        "Copies that agreed",
        "The least share of a version that gets copies of calls, of all gateways since its entry changed",
        (Query(f"min(inferencehub_gateway_shadow_agreement{{{M}}})"),),
        "percentunit",
        "stat",
        6,
        limits=(0.99, 0.95),
    ),
    Panel(
        "Not ready",
        "Versions at pods that do not serve them: they load, or could not be loaded",
        (Query(f"sum(1 - inferencehub_inference_model_ready{{{M}}})"),),
        "short",
        "stat",
        6,
        limits=(1, 5),
    ),
    Panel(
        "Loads failed in an hour",
        "What served before such a load serves on",
        (Query(f'sum(increase({LOADS}{{{M},result="failed"}}[1h]))'),),
        "short",
        "stat",
        6,
        limits=(1, 5),
    ),
)
VERSIONS = (
    Panel(
        "Calls", "A second, by version, also of calls that name it", (Query(CALLS, OF_VERSION),), "reqps",
        stacked=True, link=("model", "model"),
    ),
    Panel(
        "Failed", "Share of a version's calls that got 500, 503 or 504", share("failed"), "percentunit",
        link=("model", "model"),
    ),
    Panel("p99", "Of the calls that succeeded", quantile("0.99"), "s", link=("model", "model")),
    Panel("Median", "Of the calls that succeeded", quantile("0.5"), "s"),
    Panel(
        "Refused", "Share of a version's calls that ended with another error, such as 400 or 429",
        share("refused"), "percentunit",
    ),
)  # fmt: skip
SHARES = (
    Panel(
        "Wanted",
        "The share that the file gives to each version",
        (
            Query(
                f"max by (model, version) (inferencehub_gateway_traffic_share_wanted{{{M}}})",
                OF_VERSION,
            ),
        ),
        "percentunit",
        width=6,
    ),
    Panel(
        "Given",
        "What each version gets of the calls that name none, the mean of all gateways: less than wanted where no pod serves it,"
        " or it is rolled back",
        (Query(f"avg by (model, version) (inferencehub_gateway_traffic_share{{{M}}})", OF_VERSION),),
        "percentunit",
        width=6,
    ),
    Panel(
        "Real",
        "Its share of all calls that ended, also of those that name a version or stick to one",
        (
            Query(
                f"{CALLS} / on (model) group_left () clamp_min(sum by (model) (rate({SECONDS}_count{{{M}}}[WINDOW])), 1e-9)",
                OF_VERSION,
            ),
        ),
        "percentunit",
        width=6,
    ),
    Panel(
        "Rollbacks",
        "Gateways that have taken the weight from a version; each decides by its own calls",
        (Query(f"{EACH} (inferencehub_gateway_traffic_rolled_back{{{M}}})", OF_VERSION),),
        width=6,
    ),
)
SHADOW = (
    Panel(
        "Copies",
        "A second, by what became of them",
        (
            Query(
                f"sum by (model, version, outcome) (rate(inferencehub_gateway_shadow_calls_total{{{M}}}[WINDOW]))",
                "{{model}} {{version}} {{outcome}}",
            ),
        ),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Agreement",
        "Share of the copies that were answered as their calls, the mean of all gateways since the entry changed",
        (Query(f"avg by (model, version) (inferencehub_gateway_shadow_agreement{{{M}}})", OF_VERSION),),
        "percentunit",
    ),
    Panel(
        "Latency ratio",
        "Time of the copies at their pods, divided by that of their calls, the mean of all gateways since the entry changed",
        (Query(f"avg by (model, version) (inferencehub_gateway_shadow_latency_ratio{{{M}}})", OF_VERSION),),
    ),
)
LOADED = (
    Panel(
        "Loads",
        "Of versions of models at pods, within five minutes, by result",
        (Query(f"sum by (model, result) (increase({LOADS}{{{M}}}[5m]))", "{{model}} {{result}}"),),
        width=12,
        stacked=True,
    ),
    Panel(
        "Pods that serve a version",
        "Versions that are loaded beside each other are all here",
        (Query(f"{EACH} (inferencehub_inference_model_ready{{{M}}})", OF_VERSION),),
        width=12,
        link=("model", "model"),
    ),
)
TRAFFIC = Board(
    "traffic",
    "Versions and traffic",
    "Which version gets which calls, and how does each do? All but the loads is empty where no file splits the traffic",
    {
        "Now": NOW,
        "Calls by version": VERSIONS,
        "Shares of the calls": SHARES,
        "Shadow": SHADOW,
        "Loads of models": LOADED,
    },
    ("model",),
)
