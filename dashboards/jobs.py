"""Jobs: do they get done? Only where there is a store of jobs."""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

M = 'OF,model=~"$model"'

NOW = (
    Panel(
        "Store",
        "1 while the store answers all gateways",
        (Query("min(inferencehub_gateway_jobs_store_up{OF})"),),
        "short",
        "stat",
        6,
        limits=(1, 0.5),
    ),
    Panel(
        "Waiting",
        "Jobs that may run and wait; each gateway tells of all of them",
        (Query(f"sum(max by (model) (inferencehub_gateway_jobs_waiting{{{M}}})) or vector(0)"),),
        "short",
        "stat",
        6,
    ),
    Panel(
        "Oldest",
        "Time since the oldest of them came",
        (Query(f"max(inferencehub_gateway_jobs_oldest_seconds{{{M}}}) or vector(0)"),),
        "s",
        "stat",
        6,
    ),
    Panel(
        "Failed in an hour",
        "Jobs that failed for good",
        (Query(f'sum(increase(inferencehub_gateway_jobs_ended_total{{{M},state="failed"}}[1h]))'),),
        "short",
        "stat",
        6,
        limits=(1, 10),
    ),
)
FLOW = (
    Panel(
        "Ended",
        "Jobs a second whose result was kept, by how they ended",
        (Query(f"sum by (state) (rate(inferencehub_gateway_jobs_ended_total{{{M}}}[WINDOW]))", "{{state}}"),),
        "ops",
        stacked=True,
    ),
    Panel(
        "Waiting by model",
        "Jobs in the store that may run",
        (
            Query(
                f"max by (model) (inferencehub_gateway_jobs_waiting{{{M}}})"
                f" or 0 * sum by (model) (inferencehub_gateway_queue_length{{{M}}})",
                "{{model}}",
            ),
        ),
    ),
    Panel(
        "Age of the oldest",
        "By model",
        (
            Query(
                f"max by (model) (inferencehub_gateway_jobs_oldest_seconds{{{M}}})"
                f" or 0 * sum by (model) (inferencehub_gateway_queue_length{{{M}}})",
                "{{model}}",
            ),
        ),
        "s",
    ),
    Panel(
        "Attempts by status",
        "Runs of jobs a second, by the status that a call would have had",
        (
            Query(
                f'sum by (status) (rate(inferencehub_gateway_requests_total{{{M},front="job"}}[WINDOW]))',
                "{{status}}",
            ),
        ),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Put back",
        "Attempts a second whose job waits again: its pod was lost, there was no room, or nothing ran",
        (
            Query(
                f"sum by (reason) (rate(inferencehub_gateway_jobs_put_back_total{{{M}}}[WINDOW]))",
                "{{reason}}",
            ),
        ),
        "ops",
    ),
    Panel(
        "Taken back",
        "Jobs a second that were taken back from gateways that were lost",
        (Query("sum(rate(inferencehub_gateway_jobs_leases_lost_total{OF}[WINDOW]))", "jobs"),),
        "ops",
    ),
    Panel(
        "Webhooks",
        "Attempts to deliver a second, by what became of them",
        (
            Query(
                "sum by (outcome) (rate(inferencehub_gateway_jobs_webhooks_total{OF}[WINDOW]))", "{{outcome}}"
            ),
        ),
        "ops",
    ),
)
JOBS = Board(
    "jobs",
    "Jobs",
    "Do jobs get done? It is empty where there is no store of jobs",
    {"Now": NOW, "Flow": FLOW},
    ("model",),
)
