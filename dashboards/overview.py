"""Overview: is everything all right, and if not, where do I look?"""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

REQUESTS = "rate(inferencehub_gateway_requests_total{OF}[WINDOW])"
# Attempts of jobs have been requests before, and their callers do not wait for them.
ASKED = 'rate(inferencehub_gateway_requests_total{OF,front!="job"}[WINDOW])'
FAILED = 'rate(inferencehub_gateway_requests_total{OF,front!="job",status=~"500|503|504"}[WINDOW])'
REFUSED = 'rate(inferencehub_gateway_requests_total{OF,front!="job",status="429"}[WINDOW])'
BUCKETS = 'rate(inferencehub_gateway_request_seconds_bucket{OF,front!="job",status="200"}[WINDOW])'


def share(part: str, by: str = "") -> str:
    """A share of all requests of callers, which is 0 where there are none."""
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}({part}) / clamp_min({grouped}({ASKED}), 1e-9)"


NOW = (
    Panel(
        "Requests",
        "Answered each second, whatever the answer",
        (Query(f"sum({REQUESTS})"),),
        "reqps",
        "stat",
        4,
    ),
    Panel(
        "Failed",
        "Share of requests with 500, 503 or 504",
        (Query(share(FAILED)),),
        "percentunit",
        "stat",
        4,
        limits=(0.001, 0.01),
    ),
    Panel(
        "Refused",
        "Share of requests with 429: a limit, or a full queue",
        (Query(share(REFUSED)),),
        "percentunit",
        "stat",
        4,
        limits=(0.01, 0.05),
    ),
    Panel(
        "p99",
        "Of answers with 200, over all models",
        (Query(f"histogram_quantile(0.99, sum by (le) ({BUCKETS}))"),),
        "s",
        "stat",
        4,
    ),
    Panel(
        "Pods",
        "Inference pods that serve, as the gateway sees it that sees the fewest",
        (Query('min(inferencehub_gateway_backends{OF,state="up"})'),),
        "short",
        "stat",
        4,
        limits=(1, 0.5),
    ),
    Panel(
        "Waiting",
        "Requests in the queues of all gateways",
        (Query("sum(inferencehub_gateway_queue_length{OF})"),),
        "short",
        "stat",
        4,
    ),
)
TRAFFIC = (
    Panel(
        "Requests by status",
        "By the HTTP status of how they ended, over gRPC too. 499: the caller left",
        (Query(f"sum by (status) ({REQUESTS})", "{{status}}"),),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Requests by model",
        "Without a name: those that reached no model",
        (Query(f"sum by (model) ({REQUESTS})", "{{model}}"),),
        "reqps",
        link=("model", "model"),
    ),
    Panel(
        "Requests by front",
        "HTTP, gRPC, and attempts of jobs",
        (Query(f"sum by (front) ({REQUESTS})", "{{front}}"),),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Errors by model",
        "Share of a model's requests with 500, 503 or 504",
        (Query(share(FAILED, "model"), "{{model}}"),),
        "percentunit",
        link=("model", "model"),
    ),
    Panel(
        "Refused by model",
        "Share of a model's requests with 429",
        (Query(share(REFUSED, "model"), "{{model}}"),),
        "percentunit",
        link=("model", "model"),
    ),
    Panel(
        "Bytes",
        "To and from callers",
        (
            Query(
                "sum by (front, direction) (rate(inferencehub_gateway_bytes_total{OF}[WINDOW]))",
                "{{front}} {{direction}}",
            ),
        ),
        "Bps",
    ),
)
LATENCY = (
    Panel(
        "Latency",
        "From a request's head to its answer with 200, at the gateway, over all models",
        tuple(
            Query(f"histogram_quantile({part}, sum by (le) ({BUCKETS}))", name)
            for part, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
        ),
        "s",
    ),
    Panel(
        "p99 by model",
        "The same for each model",
        (Query(f"histogram_quantile(0.99, sum by (le, model) ({BUCKETS}))", "{{model}}"),),
        "s",
        link=("model", "model"),
    ),
    Panel(
        "Answers by time",
        "How many answers took how long",
        (Query(f"sum by (le) ({BUCKETS})", "{{le}}"),),
        "s",
        "heatmap",
    ),
)
SATURATION = (
    Panel(
        "Demand and pods",
        "Demand is the number of pods that the work would keep busy; above the pods, requests wait",
        (
            Query("sum by (pool) (inferencehub_gateway_demand{OF})", "demand {{pool}}"),
            Query(
                "count by (inferencehub_pool) (inferencehub_inference_build_info{OF})",
                "pods {{inferencehub_pool}}",
            ),
        ),
    ),
    Panel(
        "Waiting by model",
        "Requests that wait for a slot at a pod",
        (Query("sum by (model) (inferencehub_gateway_queue_length{OF})", "{{model}}"),),
        link=("model", "model"),
    ),
    Panel(
        "Busy slots",
        "Share of the instances of a model that run",
        (
            Query(
                "1 - sum by (model) (inferencehub_inference_slots_free{OF})"
                " / clamp_min(sum by (model) (inferencehub_inference_slots{OF}), 1)",
                "{{model}}",
            ),
        ),
        "percentunit",
        link=("model", "model"),
    ),
    Panel(
        "Pods by state",
        "As gateways see them, the largest of what they say",
        (Query("max by (state) (inferencehub_gateway_backends{OF})", "{{state}}"),),
        stacked=True,
    ),
    Panel(
        "Memory for requests",
        "Bytes that gateways hold for requests; at HUB_QUEUE_BYTES they refuse",
        (Query("sum by (pod) (inferencehub_gateway_held_bytes{OF})", "{{pod}}"),),
        "bytes",
        link=("pod", "pod"),
    ),
    Panel(
        "In flight",
        "Requests that are being answered",
        (Query("sum by (front) (inferencehub_gateway_in_flight{OF})", "{{front}}"),),
        stacked=True,
    ),
)
OVERVIEW = Board(
    "overview",
    "Overview",
    "Is everything all right, and if not, where do I look?",
    {"Now": NOW, "Traffic": TRAFFIC, "Latency": LATENCY, "Saturation": SATURATION},
)
