"""Model: how is one model, and where does its time go?"""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

M = 'OF,model=~"$model"'
BUCKETS = f'rate(inferencehub_gateway_request_seconds_bucket{{{M},status="200"}}[WINDOW])'


def quantiles(name: str, by: str = "le", labels: str = M) -> tuple[Query, ...]:
    """The median and the 99th percentile of a histogram."""
    rate = f"sum by ({by}) (rate({name}_bucket{{{labels}}}[WINDOW]))"
    return tuple(
        Query(f"histogram_quantile({part}, {rate})", text) for part, text in (("0.5", "p50"), ("0.99", "p99"))
    )


def rows(name: str, by: str) -> str:
    """The mean number of rows; 0 where nothing ran."""
    total = f"sum by ({by}) (rate({name}_sum{{{M}}}[WINDOW]))"
    return f"{total} / clamp_min(sum by ({by}) (rate({name}_count{{{M}}}[WINDOW])), 1e-9)"


CALLERS = (
    Panel(
        "Requests by status",
        "By the HTTP status of how they ended, over gRPC too",
        (Query(f"sum by (status) (rate(inferencehub_gateway_requests_total{{{M}}}[WINDOW]))", "{{status}}"),),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Latency",
        "Of answers with 200, at the gateway",
        tuple(
            Query(f"histogram_quantile({part}, sum by (le) ({BUCKETS}))", name)
            for part, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
        ),
        "s",
    ),
    Panel(
        "Answers by time",
        "How many took how long",
        (Query(f"sum by (le) ({BUCKETS})", "{{le}}"),),
        "s",
        "heatmap",
    ),
)
TIMES = (
    Panel(
        "Queue at the gateway",
        "Time until a pod had a free slot: the first to rise where pods are too few",
        quantiles("inferencehub_gateway_queue_seconds"),
        "s",
    ),
    Panel(
        "Queue at the pod",
        "Time until an instance was free; short, because gateways send what a pod can run",
        quantiles("inferencehub_inference_queue_seconds"),
        "s",
    ),
    Panel("Run", "Time of runs of the model", quantiles("inferencehub_inference_compute_seconds"), "s"),
    Panel(
        "First answer of a stream",
        "Time until it was sent; only where the model streams",
        quantiles("inferencehub_gateway_first_answer_seconds"),
        "s",
    ),
    Panel(
        "Between answers of a stream",
        "A caller that reads slowly makes it longer",
        quantiles("inferencehub_gateway_between_answers_seconds"),
        "s",
    ),
    Panel(
        "Calls at the pod",
        "By the gRPC status of how they ended",
        (
            Query(
                f"sum by (status) (rate(inferencehub_inference_call_seconds_count{{{M}}}[WINDOW]))",
                "{{status}}",
            ),
        ),
        "reqps",
        stacked=True,
    ),
)
BATCHES = (
    Panel(
        "Rows of a call to a pod",
        "The mean: how many requests leave together",
        (Query(rows("inferencehub_gateway_batch_rows", "model"), "{{model}}"),),
    ),
    Panel(
        "Rows of a run",
        "The mean of what an instance runs at a time",
        (Query(rows("inferencehub_inference_batch_rows", "model, version"), "{{model}} {{version}}"),),
    ),
    Panel(
        "Why calls left the queue",
        "Calls to pods a second, by reason",
        (
            Query(
                f"sum by (reason) (rate(inferencehub_gateway_dispatches_total{{{M}}}[WINDOW]))", "{{reason}}"
            ),
        ),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Put back into the queue",
        "Requests a second, by what happened to them: a pod was lost or was full, or a batch failed",
        (
            Query(
                f"sum by (outcome) (rate(inferencehub_gateway_returned_total{{{M}}}[WINDOW]))", "{{outcome}}"
            ),
        ),
        "reqps",
    ),
    Panel(
        "Run apart",
        "Calls a second that ran alone after their batch had failed",
        (
            Query(
                f"sum by (model) (rate(inferencehub_inference_run_apart_total{{{M}}}[WINDOW]))", "{{model}}"
            ),
        ),
        "reqps",
    ),
)
INSTANCES = (
    Panel(
        "Waiting and running",
        "Requests at all gateways",
        (
            Query(f"sum(inferencehub_gateway_queue_length{{{M}}})", "waiting"),
            Query(f"sum(inferencehub_gateway_running{{{M}}})", "running"),
        ),
    ),
    Panel(
        "Instances",
        "All, and those that are free",
        (
            Query(f"sum(inferencehub_inference_slots{{{M}}})", "all"),
            Query(f"sum(inferencehub_inference_slots_free{{{M}}})", "free"),
        ),
    ),
    Panel(
        "Pods that serve it",
        "By version",
        (
            Query(
                f"sum by (model, version) (inferencehub_inference_model_ready{{{M}}})",
                "{{model}} {{version}}",
            ),
        ),
    ),
)
MODEL = Board(
    "model",
    "Model",
    "How is a model, and where does its time go?",
    {"Callers": CALLERS, "Where the time goes": TIMES, "Batches": BATCHES, "Instances": INSTANCES},
    ("model",),
)
