"""Jobs and their results as messages, and results as HTTP shows them."""

from __future__ import annotations

from time import monotonic

import grpc

from inferencehub.core.oip.raw_fields import SIZED, varint
from inferencehub.core.values.errors import Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.jobs.record import Items, JobRecord, Result, Webhook
from inferencehub.pb import jobs_pb2 as pb

# Of the result of a job of gRPC: a serialized ModelInferResponse. No endpoint of HTTP answers with this type.
PROTOBUF = "application/x-protobuf"
CONTENT_TYPE = "content-type"
RESPONSE = bytes((pb.GetJobResultResponse.RESPONSE_FIELD_NUMBER << 3 | SIZED,))
BODY = bytes((pb.GetJobResultResponse.BODY_FIELD_NUMBER << 3 | SIZED,))
KINDS = {kind.http: kind for kind in Kind}
# Of the time that a call has: so much may be waited for a job, for the caller must hear of it.
SHARE = 0.9


def job_message(record: JobRecord) -> pb.Job:
    """How a job stands."""
    return pb.Job(
        id=record.id,
        state=record.state.value,
        model=record.model,
        version=record.version,
        priority=record.priority,
        attempts=record.attempts,
        created_ms=ms_of(record.created),
        not_before_ms=ms_of(record.not_before),
        started_ms=ms_of(record.started),
        ended_ms=ms_of(record.ended),
        expires_ms=ms_of(record.expires),
        place=record.place,
        status=record.status,
        error=record.error,
        progress=record.progress,
        items=None if record.items is None else items_message(record.items),
        webhook=None if record.webhook is None else webhook_message(record.webhook),
    )


def items_message(items: Items) -> pb.Items:
    """How the items of a batch stand."""
    return pb.Items(
        total=items.total,
        waiting=items.waiting,
        running=items.running,
        succeeded=items.succeeded,
        failed=items.failed,
        cancelled=items.cancelled,
        expired=items.expired,
    )


def webhook_message(webhook: Webhook) -> pb.Webhook:
    """How the webhook of a job stands."""
    return pb.Webhook(
        url=webhook.url,
        state=webhook.state,
        attempts=webhook.attempts,
        status=webhook.status,
        error=webhook.error,
    )


def ms_of(at: float | None) -> int:
    """A time in ms; 0 for none."""
    return 0 if at is None else int(at * 1000)


def result_message(record: JobRecord, result: Result) -> bytes:
    """The serialized GetJobResultResponse of a job with a result. The result is copied once; protobuf would do so more often."""
    headers = headers_of(result.lines)
    head = pb.GetJobResultResponse(job=job_message(record), code=code_of(result.status), headers=headers)
    tag = RESPONSE if headers[CONTENT_TYPE] == PROTOBUF else BODY
    return b"".join((head.SerializeToString(), tag, varint(len(result.body)), result.body))


def code_of(status: int) -> int:
    """The number of the status code of gRPC for an HTTP status."""
    code = grpc.StatusCode[KINDS[status].grpc] if status in KINDS else grpc.StatusCode.OK
    number: int = code.value[0]
    return number


def headers_of(lines: bytes) -> dict[str, str]:
    """Header lines by their names; of one that comes twice, both values with a comma between."""
    found: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        name = name.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def patience(exchange: Exchange, wait_s: int) -> float:
    """Seconds to wait for a job's end: those that the caller says, but not until the deadline of the call."""
    if exchange.limit_s is None:
        return wait_s
    return min(wait_s, SHARE * max(0.0, exchange.limit_s - (monotonic() - exchange.started)))
