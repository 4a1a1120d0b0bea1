"""Pod: what does a process use, and what holds it up?"""

from __future__ import annotations

from dashboards.panel import Board, Panel, Query

P = 'OF,inferencehub_pool=~"$pool|",pod=~"$pod"'


def per(expr: str, legend: str = "{{pod}}") -> tuple[Query, ...]:
    """A query whose labels P stand for the pods that were chosen."""
    return (Query(expr.replace("{P", "{" + P), legend),)


CPU = (
    Panel(
        "CPU of the container",
        "Cores, with the processes of Python models",
        per("sum by (pod) (rate(inferencehub_container_cpu_seconds_total{P}[WINDOW]))"),
    ),
    Panel(
        "CPU of the service",
        "Cores of the service's own process. A gateway at 1 is full: add gateways",
        per("sum by (pod) (rate(process_cpu_seconds_total{P}[WINDOW]))"),
    ),
    Panel(
        "Throttled",
        "Seconds a second that the container's limit of CPU made its threads wait",
        per("sum by (pod) (rate(inferencehub_container_cpu_throttled_seconds_total{P}[WINDOW]))"),
        "s",
    ),
    Panel(
        "Event loop late",
        "p99 of the delay of a timer: each request of the process waits as long",
        per(
            "histogram_quantile(0.99, sum by (le, pod)"
            " (rate(inferencehub_process_event_loop_lag_seconds_bucket{P}[WINDOW])))"
        ),
        "s",
    ),
    Panel(
        "Garbage collector",
        "Seconds a second in which it stops the process",
        per("sum by (pod) (rate(inferencehub_process_gc_pause_seconds_sum{P}[WINDOW]))"),
        "s",
    ),
    Panel("Up since", "Time since the process began", per("time() - process_start_time_seconds{P}"), "s"),
)
MEMORY = (
    Panel(
        "Memory of the container",
        "With the processes of Python models, and without file pages that can be taken back",
        per("inferencehub_container_memory_bytes{P}"),
        "bytes",
    ),
    Panel(
        "Of its limit",
        "At 1 the kernel ends the container; 0 where there is no limit",
        per(
            "inferencehub_container_memory_bytes{P} / inferencehub_container_memory_limit_bytes{P}"
            " or 0 * inferencehub_container_memory_bytes{P}"
        ),
        "percentunit",
    ),
    Panel(
        "Memory of the service",
        "Resident memory of the service's own process",
        per("process_resident_memory_bytes{P}"),
        "bytes",
    ),
)
TRAFFIC = (
    Panel(
        "Connections",
        "Of callers to a gateway's HTTP port, and of gateways to a pod",
        per(
            'sum by (pod, front) ({P,__name__=~"inferencehub_(gateway|inference)_connections"})',
            "{{pod}} {{front}}",
        ),
    ),
    Panel(
        "Streams",
        "Of ModelStreamInfer",
        per(
            'sum by (pod, front) ({P,__name__=~"inferencehub_(gateway|inference)_streams"})',
            "{{pod}} {{front}}",
        ),
    ),
    Panel(
        "Bytes",
        "Received and sent, by front",
        per(
            "sum by (pod, front, direction) (rate(inferencehub_gateway_bytes_total{P}[WINDOW])"
            " or rate(inferencehub_inference_bytes_total{P}[WINDOW]))",
            "{{pod}} {{front}} {{direction}}",
        ),
        "Bps",
    ),
    Panel(
        "Calls at inference pods",
        "A second, by model",
        per(
            "sum by (pod, model) (rate(inferencehub_inference_compute_seconds_count{P}[WINDOW]))",
            "{{pod}} {{model}}",
        ),
        "reqps",
    ),
    Panel(
        "Waiting and running",
        "Calls at inference pods",
        (
            *per("sum by (pod) (inferencehub_inference_queue_length{P})", "waiting {{pod}}"),
            *per("sum by (pod) (inferencehub_inference_running{P})", "running {{pod}}"),
        ),
    ),
    Panel("Open files", "Sockets are files too", per("process_open_fds{P}")),
)
LOSSES = (
    Panel(
        "Access lines dropped",
        "A second, because nothing read standard output",
        per(
            "sum by (pod) (rate(inferencehub_gateway_access_lines_dropped_total{P}[WINDOW])"
            " or rate(inferencehub_inference_access_lines_dropped_total{P}[WINDOW]))"
        ),
    ),
    Panel(
        "Files that are not used",
        "Certificates, keys or limits that have changed and are broken",
        per(
            '{P,__name__=~"inferencehub_(gateway|inference|scaler)_reload_refused"} or 0 * process_start_time_seconds{P}',
            "{{pod}} {{setting}}",
        ),
    ),
    Panel(
        "Certificates end in",
        "The certificates that a process shows, or the first of those that signed them",
        per(
            "min by (pod, setting) (inferencehub_process_certificate_end_timestamp_seconds{P}) - time()",
            "{{pod}} {{setting}}",
        ),
        "s",
    ),
)
POD = Board(
    "pod",
    "Pod",
    "What does a process use, and what holds it up?",
    {"CPU and time": CPU, "Memory": MEMORY, "Traffic": TRAFFIC, "Losses and files": LOSSES},
    ("pool", "pod"),
)
