"""What spans of one kind have in common: names and attributes, by the conventions of OpenTelemetry for HTTP and RPC.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and https://opentelemetry.io/docs/specs/semconv/rpc/
"""

from __future__ import annotations

from functools import lru_cache

import grpc

from inferencehub.core.traces.encoding import (
    CLIENT,
    CONSUMER,
    INTERNAL,
    LINK,
    SERVER,
    Attributes,
    Kind,
    Value,
    fixed,
    kind_of,
)
from inferencehub.core.values.errors import Kind as ErrorKind

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
CODES: dict[str, int] = {"ok": 0, **{kind.label: grpc.StatusCode[kind.grpc].value[0] for kind in ErrorKind}}
SERVICE = "inference.GRPCInferenceService"
SERVICES = {"Predict": "inference.ModelInference"}  # of other methods, by their names
JOBS, JOB = "inference.Jobs", "Job"
QUEUE = kind_of(fixed("queue", INTERNAL, ()))


@lru_cache(4096)
def http_call(
    front: str,
    method: str,
    path: bytes,
    route: str,
    status: int,
    kind: str,
    failed: bool,
    model: str,
    caller: str,
    tenant: str,
) -> bytes:
    """The span of a call over HTTP, or of an attempt of a job that came so."""
    known = method in METHODS
    facts: list[tuple[str, Value]] = [
        ("http.request.method", method if known else "_OTHER"),
        ("http.response.status_code", status),
        ("url.path", path.decode("latin-1")),
    ]
    if route:
        facts.append(("http.route", route))
    name = f"{method if known else 'HTTP'} {route}".rstrip()
    return whole(name, front, facts, kind, failed, model, caller, tenant)


@lru_cache(4096)
def grpc_call(
    front: str, method: str, kind: str, failed: bool, model: str, caller: str, tenant: str
) -> bytes:
    """The span of a call over gRPC, or of an attempt of a job that came so."""
    service = JOBS if JOB in method else SERVICES.get(method, SERVICE)
    facts: list[tuple[str, Value]] = [
        ("rpc.system", "grpc"),
        ("rpc.service", service),
        ("rpc.method", method),
        ("rpc.grpc.status_code", CODES.get(kind, 2)),
    ]
    return whole(f"{service}/{method}", front, facts, kind, failed, model, caller, tenant)


@lru_cache(4096)
def step(kind: str, failed: bool, model: str, caller: str, tenant: str) -> bytes:
    """The span of a step of an ensemble."""
    return whole(f"step {model}", "step", [], kind, failed, model, caller, tenant)


def whole(
    name: str,
    front: str,
    facts: list[tuple[str, Value]],
    kind: str,
    failed: bool,
    model: str,
    caller: str,
    tenant: str,
) -> bytes:
    """The span of a whole call; what is "" is not known, and left out."""
    own = {"inferencehub.model": model, "inferencehub.caller": caller, "inferencehub.tenant": tenant}
    facts += [(about, value) for about, value in own.items() if value]
    if kind != "ok":
        facts.append(("error.type", kind))
    of = {"job": CONSUMER, "step": INTERNAL}.get(front, SERVER)
    return fixed(name, of, tuple(facts), kind if failed else None)


@lru_cache(4096)
def pod_call(model: str, pod: str, rows: int, error: str | None, linked: bool) -> Kind:
    """The span of a call to a pod; `linked` if a link to its run follows."""
    facts: list[tuple[str, Value]] = [
        ("rpc.system", "grpc"),
        ("rpc.service", SERVICE),
        ("rpc.method", "ModelInfer"),
        ("inferencehub.model", model),
    ]
    if pod:
        host, _, port = pod.rpartition(":")
        facts += [("server.address", host.strip("[]")), ("server.port", int(port))]
    return kind_of(fixed(f"call {model}", CLIENT, with_rows(facts, rows), error), LINK.size if linked else 0)


@lru_cache(4096)
def webhook(receiver: str, attempt: int, status: int) -> bytes:
    """The span of an attempt to deliver a webhook; `status` is 0 if there was no answer."""
    host, _, port = receiver.rpartition(":")
    facts: list[tuple[str, Value]] = [
        ("http.request.method", "POST"),
        ("server.address", host.strip("[]")),
        ("server.port", int(port)),
    ]
    if status:
        facts.append(("http.response.status_code", status))
    if attempt > 1:
        facts.append(("http.request.resend_count", attempt - 1))
    error = None if 200 <= status < 300 else str(status or "no_answer")
    if error is not None:
        facts.append(("error.type", error))
    return fixed("POST", CLIENT, tuple(facts), error)


@lru_cache(4096)
def run(model: str, rows: int, error: str | None) -> Kind:
    """The span of a run at a pod."""
    facts: list[tuple[str, Value]] = [("inferencehub.model", model)]
    return kind_of(fixed(f"run {model}", INTERNAL, with_rows(facts, rows), error))


def with_rows(facts: list[tuple[str, Value]], rows: int) -> Attributes:
    """The attributes, and how many rows the batch has, if that is known."""
    return (*facts, ("inferencehub.batch.rows", rows)) if rows else tuple(facts)
