"""What lets each alert fire, and what is near it and does not: series as promtool reads them, a value a minute."""

from __future__ import annotations

from typing import NamedTuple

Series = dict[str, str]
DAY_S = 86_400
G, J = "inferencehub_gateway", "inferencehub_gateway_jobs"


def series(name: str, values: str, **labels: str) -> Series:
    """A series of the release, with the labels that a monitor brings."""
    labels = {"namespace": "ml", "app_kubernetes_io_instance": "hub", "pod": "one", **labels}
    text = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{text}}}", "values": values}


def requests(good: int, bad: int, status: str) -> list[Series]:
    """Requests a minute over eight hours."""
    name = "inferencehub_gateway_requests_total"
    return [
        series(name, f"0+{count}x480", front="http", model="m", status=of)
        for of, count in (("200", good), (status, bad))
    ]


def attempts(count: int, status: str) -> list[Series]:
    """Attempts of jobs a minute, which are no requests of callers."""
    name = "inferencehub_gateway_requests_total"
    return [series(name, f"0+{count}x480", front="job", model="m", status=status)]


def answers(all_of_them: int, quick: int) -> list[Series]:
    """Answers a minute over eight hours, and how many of them came within a second."""
    name, labels = "inferencehub_gateway_request_seconds", {"front": "http", "model": "m", "status": "200"}
    return [
        series(f"{name}_count", f"0+{all_of_them}x480", **labels),
        series(f"{name}_bucket", f"0+{quick}x480", le="1.0", **labels),
    ]


def waits(name: str, quick: int, **labels: str) -> list[Series]:
    """A hundred observations a minute, of which so many are below 0.1, and the others between 2.5 and 5."""
    counts = {"0.1": quick, "2.5": quick, "5.0": 100, "+Inf": 100}
    return [series(f"{name}_bucket", f"0+{count}x60", le=le, **labels) for le, count in counts.items()]


def pods(count: int) -> list[Series]:
    name = "inferencehub_inference_build_info"
    return [series(name, "1x60", pod=f"pod-{number}", inferencehub_pool="default") for number in range(count)]


def certificate(days: float) -> list[Series]:
    """One that ends so many days after promtool's time 0."""
    name = "inferencehub_process_certificate_end_timestamp_seconds"
    return [series(name, f"{days * DAY_S:.0f}x60", setting="HUB_TLS")]


def memory(used: int) -> list[Series]:
    return [
        series("inferencehub_container_memory_bytes", f"{used}x60"),
        series("inferencehub_container_memory_limit_bytes", "1000x60"),
    ]


def ready(pod: str, version: str, values: str, model: str = "m") -> list[Series]:
    return [series("inferencehub_inference_model_ready", values, model=model, version=version, pod=pod)]


def loads(result: str, values: str) -> list[Series]:
    return [series("inferencehub_inference_model_loads_total", values, model="m", result=result)]


def differing(values: str, pod: str) -> Series:
    """Pods that are not as wished, as a gateway sees them."""
    return series(f"{G}_pods_not_as_wished", values, model="m", pod=pod)


def copies(agreed: int, differed: int, failed: int, model: str = "m") -> list[Series]:
    """Copies of calls a minute, and many more that were dropped."""
    counts = {"agreed": agreed, "differed": differed, "failed": failed, "dropped": 1000}
    return [
        series(f"{G}_shadow_calls_total", f"0+{count}x60", model=model, version="2", outcome=outcome)
        for outcome, count in counts.items()
    ]


class Case(NamedTuple):
    """What lets an alert fire after `minutes`, and what leaves it silent at the same time."""

    minutes: int
    fires: list[Series]
    silent: list[Series]


CANARY = {"model": "m", "version": "2"}
STARTS = "process_start_time_seconds"
CASES = {
    "ErrorsFast": Case(70, requests(97, 3, "500"), requests(99, 1, "500")),
    "ErrorsSlow": Case(400, requests(99, 1, "503"), requests(996, 4, "504")),
    "LatencyFast": Case(70, answers(100, 84), answers(100, 87)),
    "LatencySlow": Case(400, answers(100, 93), answers(100, 95)),
    "NoGateway": Case(5, [], [series(f"{G}_build_info", "1x60", version="1")]),
    "NoPod": Case(
        5,
        [series(f"{G}_backends", "0x60", state="up"), series(f"{G}_backends", "2x60", state="lost")],
        [series(f"{G}_backends", "0x60", state="up"), series(f"{G}_backends", "1x60", state="up", pod="b")],
    ),
    "ModelDown": Case(
        5,
        [
            series("inferencehub_inference_model_ready", "0x60", model="m", version="1", pod=pod)
            for pod in "ab"
        ],
        [
            series("inferencehub_inference_model_ready", value, model="m", version=version, pod=pod)
            for pod, version, value in (("a", "2", "0x60"), ("b", "2", "0x60"), ("b", "1", "1x60"))
        ],
    ),
    "ModelNotReady": Case(
        15,
        [*ready("a", "2", "0x60"), *ready("b", "1", "1x60")],
        [*ready("a", "2", "0x6 1x60"), *ready("b", "1", "1x60"), *ready("b", "1", "0x60", "down")],
    ),
    "LoadFailed": Case(
        30,
        [*loads("failed", "0x20 1x60"), *loads("ok", "1x60")],
        [*loads("failed", "0x5 1x60"), *loads("ok", "1+1x60")],
    ),
    "NotAsWished": Case(
        30,
        [differing("0x5 1x60", "a"), differing("0x60", "b")],
        [differing("1x5 0x10 1x60", "a"), differing("0x60", "b")],
    ),
    "QueueSlow": Case(
        30, waits(f"{G}_queue_seconds", 94, model="m"), waits(f"{G}_queue_seconds", 96, model="m")
    ),
    "Refusals": Case(
        30, [*requests(90, 10, "429"), *attempts(900, "200")], [*requests(96, 4, "429"), *attempts(50, "429")]
    ),
    "VersionRolledBack": Case(
        5,
        [
            series(f"{G}_traffic_rolled_back", f"{at}x60", pod=pod, **CANARY)
            for pod, at in (("a", 0), ("b", 1))
        ],
        [series(f"{G}_traffic_rolled_back", "1x2 0x60", **CANARY)],
    ),
    "ShadowDiffers": Case(20, copies(94, 3, 3), [*copies(96, 2, 2), *copies(0, 1, 0, "few")]),
    "ShadowSlow": Case(
        30,
        [series(f"{G}_shadow_latency_ratio", "1.6x60", **CANARY), *copies(3, 0, 0)],
        [
            series(f"{G}_shadow_latency_ratio", "1.4x60", **CANARY),
            *copies(3, 0, 0),
            series(f"{G}_shadow_latency_ratio", "9x60", model="few", version="2"),
            *copies(1, 0, 9, "few"),
        ],
    ),
    "PoolAtMaximum": Case(30, pods(10), pods(9)),
    "ScalerBlind": Case(
        10,
        [
            series("inferencehub_scaler_build_info", "1x60"),
            series("inferencehub_scaler_age_seconds", "61+60x60"),
        ],
        [
            series("inferencehub_scaler_build_info", "1x60"),
            series("inferencehub_scaler_age_seconds", "59x60"),
        ],
    ),
    "CertificateEnds": Case(30, certificate(13), certificate(15)),
    "CertificateEndsSoon": Case(30, certificate(0.9), certificate(1.1)),
    "ReloadRefused": Case(
        30,
        [series(f"{G}_reload_refused", "1x60", setting="HUB_TLS")],
        [series(f"{G}_reload_refused", "0x28 1x5 0x30", setting="HUB_TLS")],
    ),
    "StoreDown": Case(5, [series(f"{J}_store_up", "0x60")], [series(f"{J}_store_up", "1x60")]),
    "JobsFail": Case(
        20,
        [
            series(f"{J}_ended_total", "0+94x60", model="m", state="succeeded"),
            series(f"{J}_ended_total", "0+6x60", model="m", state="failed"),
        ],
        [
            series(f"{J}_ended_total", "0+96x60", model="m", state="succeeded"),
            series(f"{J}_ended_total", "0+4x60", model="m", state="failed"),
            series(f"{J}_ended_total", "0+50x60", model="m", state="canceled"),
        ],
    ),
    "WebhooksGivenUp": Case(
        20,
        [series(f"{J}_webhooks_total", "0x10 1x60", outcome="given_up")],
        [series(f"{J}_webhooks_total", "0+1x60", outcome="retried")],
    ),
    "MemoryNearLimit": Case(10, memory(910), memory(890)),
    "CrashLoop": Case(30, [series(STARTS, "1x5 2x5 3x5 4x60")], [series(STARTS, "1x5 2x5 3x60")]),
    "NotScraped": Case(30, [series("up", "0x60")], [series("up", "1x25 0x5 1x60")]),
    "EventLoopLate": Case(
        30,
        waits("inferencehub_process_event_loop_lag_seconds", 98),
        waits("inferencehub_process_event_loop_lag_seconds", 100),
    ),
    "LogsDropped": Case(
        20,
        [series("inferencehub_inference_access_lines_dropped_total", "0x10 9x60")],
        [series("inferencehub_inference_access_lines_dropped_total", "9x60")],
    ),
    "TracesDropped": Case(
        20,
        [series("inferencehub_gateway_traced_calls_total", "0x10 9x60", outcome="failed")],
        [
            series("inferencehub_gateway_traced_calls_total", "0+9x60", outcome="sent"),
            series("inferencehub_gateway_traced_calls_total", "9x60", outcome="dropped"),
        ],
    ),
}
