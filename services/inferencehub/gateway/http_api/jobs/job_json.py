"""How a job stands, as JSON."""

from __future__ import annotations

from typing import Any

from inferencehub.gateway.http_api.jobs.request import shown_time
from inferencehub.gateway.jobs.record import Items, JobRecord, Webhook
from inferencehub.gateway.json_codec.answer_json import encode


def job_fields(record: JobRecord) -> dict[str, Any]:
    """The fields of a job; see docs/jobs.md."""
    return {
        "id": record.id,
        "state": record.state.value,
        "model": record.model,
        "version": record.version,
        "priority": record.priority,
        "attempts": record.attempts,
        "created": shown_time(record.created),
        "not_before": shown_time(record.not_before),
        "started": shown_time(record.started),
        "ended": shown_time(record.ended),
        "expires": shown_time(record.expires),
        "place": record.place,
        "progress": record.progress,
        "status": record.status or None,
        "error": record.error or None,
        "items": item_counts(record.items),
        "webhook": None if record.webhook is None else webhook_fields(record.webhook),
    }


def item_counts(items: Items | None) -> dict[str, int | float] | None:
    """How many items of a batch stand how, and which part of them has ended."""
    if items is None:
        return None
    return {
        "total": items.total,
        "waiting": items.waiting,
        "running": items.running,
        "succeeded": items.succeeded,
        "failed": items.failed,
        "cancelled": items.cancelled,
        "expired": items.expired,
        "progress": round(items.ended / items.total, 4) if items.total else 1.0,
    }


def webhook_fields(webhook: Webhook) -> dict[str, Any]:
    """How the webhook of a job stands."""
    return {
        "url": webhook.url,
        "state": webhook.state,
        "attempts": webhook.attempts,
        "status": webhook.status or None,
        "error": webhook.error or None,
    }


def job_json(record: JobRecord) -> bytes:
    """A job."""
    return encode(job_fields(record))


def ended_json(record: JobRecord) -> bytes:
    """What the webhook of a job that has ended is sent."""
    fields = {
        "type": f"job.{record.state.value}",
        "timestamp": shown_time(record.ended),
        "data": job_fields(record),
    }
    return encode(fields)
