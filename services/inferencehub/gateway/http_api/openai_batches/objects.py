"""Files and batches as OpenAI's objects."""

from __future__ import annotations

from typing import Any

import msgspec

from inferencehub.gateway.http_api.openai_batches.about import About
from inferencehub.gateway.http_api.openai_batches.asked import WINDOW
from inferencehub.gateway.jobs.files import StoredFile
from inferencehub.gateway.jobs.record import Items, JobRecord, State

# Parts of a result: the answers of items that succeeded, and those of all others.
OUTPUT, ERRORS = "output", "errors"


def file_fields(file: StoredFile, purpose: str = "batch") -> dict[str, Any]:
    """A file."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created),
        "expires_at": int(file.expires),
        "filename": file.name,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }


def file_id(batch: str, part: str) -> str:
    """The id of the file that is a part of a batch's result."""
    return f"file-{batch}-{part}"


def has_part(record: JobRecord, items: Items, part: str) -> bool:
    """Whether there is such a file: once the batch has ended, if it has any line."""
    others = items.ended - items.succeeded
    return record.state.ended and bool(items.succeeded if part == OUTPUT else others)


def status_of(record: JobRecord, items: Items) -> str:
    """OpenAI's word for how a batch stands."""
    if not record.state.ended:
        return {"release": "validating", "cancel": "cancelling"}.get(items.doing, "in_progress")
    if not items.total:
        return "failed"
    if record.state is State.CANCELLED:
        return "cancelled"
    return "expired" if items.expired else "completed"


def batch_fields(record: JobRecord, items: Items, about: About) -> dict[str, Any]:
    """A batch; what it is made of is validated before it is known, and its result needs no time to be made."""
    status = status_of(record, items)
    created = int(record.created)
    ended = {} if record.ended is None else {f"{status}_at": int(record.ended)}
    if status == "cancelled":
        ended["cancelling_at"] = ended["cancelled_at"]
    if status == "completed":
        ended["finalizing_at"] = ended["completed_at"]
    names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    errors = None
    if about.errors:
        errors = {"object": "list", "data": [msgspec.structs.asdict(one) for one in about.errors]}
    return {
        "id": record.id,
        "object": "batch",
        "endpoint": about.endpoint,
        "model": record.model or None,
        "errors": errors,
        "input_file_id": about.input_file_id,
        "completion_window": WINDOW,
        "status": status,
        "output_file_id": file_id(record.id, OUTPUT) if has_part(record, items, OUTPUT) else None,
        "error_file_id": file_id(record.id, ERRORS) if has_part(record, items, ERRORS) else None,
        "created_at": created,
        "expires_at": int(max(record.created, record.not_before) + about.wait_s),
        **{f"{name}_at": ended.get(f"{name}_at") for name in names},
        "in_progress_at": None if status == "failed" else int(record.started or created),
        "request_counts": {
            "total": items.total,
            "completed": items.succeeded,
            "failed": items.ended - items.succeeded,
        },
        "metadata": about.metadata,
    }


def page_fields(found: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": found,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
        "has_more": more,
    }
