"""Scaling: do pods follow the demand?"""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

POOL = 'OF,pool=~"$pool"'
PODS = "count by (inferencehub_pool) (inferencehub_inference_build_info{OF})"

DEMAND = (
    Panel(
        "Demand and pods",
        "Demand of a pool is that of its busiest model, over all gateways; the rule's, which autoscalers may follow",
        (
            Query(
                'inferencehub_demand{namespace=~"$namespace",release=~"$release",pool=~"$pool"}',
                "demand {{pool}}",
            ),
            Query(PODS, "pods {{inferencehub_pool}}"),
            Query(f"max by (pool) (inferencehub_pool_most_pods{{{POOL}}})", "most {{pool}}"),
            Query(f"max by (pool) (inferencehub_pool_least_pods{{{POOL}}})", "least {{pool}}"),
        ),
        width=16,
    ),
    Panel(
        "Demand by model",
        "Of the requests of all gateways",
        (Query(f"sum by (pool, model) (inferencehub_gateway_demand{{{POOL}}})", "{{pool}} {{model}}"),),
        link=("model", "model"),
    ),
    Panel(
        "Demand of waiting jobs",
        "Once for all gateways",
        (
            Query(
                f"sum by (pool) (max by (pool, model, version) (inferencehub_gateway_shared_demand{{{POOL}}}))"
                f" or 0 * sum by (pool) (inferencehub_gateway_demand{{{POOL}}})",
                "{{pool}}",
            ),
        ),
    ),
    Panel(
        "Wait for a pod",
        "p95 by model: rises where pods come too late or are too few",
        (
            Query(
                "histogram_quantile(0.95, sum by (le, model)"
                " (rate(inferencehub_gateway_queue_seconds_bucket{OF}[WINDOW])))",
                "{{model}}",
            ),
        ),
        "s",
    ),
    Panel(
        "Slots",
        "Instances of each model at all pods, as the gateway sees it that sees the most",
        (Query("max by (model) (inferencehub_gateway_slots{OF})", "{{model}}"),),
    ),
    Panel(
        "Pods by state",
        "As gateways see them",
        (Query("max by (state) (inferencehub_gateway_backends{OF})", "{{state}}"),),
        stacked=True,
    ),
)
SCALER = (
    Panel(
        "Demand at the scaler",
        "What autoscalers read with source demand or keda",
        (Query(f"max by (pool) (inferencehub_scaler_demand{{{POOL}}})", "{{pool}}"),),
    ),
    Panel(
        "Age of the demand",
        "Time since all gateways have answered the scaler; from 60 s on it says nothing",
        (Query("max by (pod) (inferencehub_scaler_age_seconds{OF})", "{{pod}}"),),
        "s",
    ),
    Panel(
        "Gateways",
        "Those that accept requests, and how many of them answered",
        (
            Query("max(inferencehub_scaler_gateways{OF})", "accept requests"),
            Query("max(inferencehub_scaler_gateways_answered{OF})", "answered"),
        ),
    ),
    Panel(
        "First and last pods",
        "Times a pool was set to 0 or to 1 pods, in an hour",
        (
            Query(
                f"sum by (pool, replicas) (increase(inferencehub_scaler_moves_total{{{POOL}}}[1h]))"
                " or 0 * sum by (pool) (inferencehub_scaler_demand{OF})",
                "{{pool}} to {{replicas}}",
            ),
        ),
    ),
)
SCALING = Board(
    "scaling",
    "Scaling",
    "Do pods follow the demand? The second row needs the scaler",
    {"Demand": DEMAND, "Scaler": SCALER},
    ("pool",),
)
