"""How a job stands, as JSON."""

from __future__ import annotations

from typing import Any

from inferencehub.gateway.http_api.jobs.request import shown_time
from inferencehub.gateway.jobs.record import JobRecord
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
    }


def job_json(record: JobRecord) -> bytes:
    """A job."""
    return encode(job_fields(record))
