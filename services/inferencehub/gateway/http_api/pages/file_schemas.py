"""JSON Schemas of OpenAI's files and batches."""

from __future__ import annotations

from inferencehub.gateway.http_api.openai_batches.asked import ENDPOINTS, KEPT_S, WINDOW
from inferencehub.gateway.http_api.pages.schemas import BOOL, Json, listed, record, ref, text

SECONDS: Json = {"type": "integer", "description": "in seconds since 1970"}
LATER = {"type": ["integer", "null"], "description": "in seconds since 1970; null before"}
NAME = {"type": ["string", "null"]}
COUNT = {"type": "integer", "minimum": 0}
KEEP: Json = {"type": "integer", "minimum": KEPT_S[0], "maximum": KEPT_S[1], "description": "seconds"}
UNTIL: dict[str, Json] = {"expires_after[anchor]": {"const": "created_at"}, "expires_after[seconds]": KEEP}
METADATA: Json = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
STATUSES = ("validating", *TIMES)


def page_of(name: str) -> Json:
    """The schema of a page of a list."""
    return record(
        "object data first_id last_id has_more",
        object={"const": "list"}, data=listed(ref(name)), first_id=NAME,
        last_id={**NAME, "description": "as `after` it gives the next page"}, has_more=BOOL,
    )  # fmt: skip


FILE_SCHEMAS: dict[str, Json] = {
    "FileUpload": record(
        "file purpose",
        file={"type": "string", "format": "binary", "description": "a line of JSON for each call, as the input file of OpenAI's Batch API"},
        purpose={"const": "batch"},
        **UNTIL,
    ),
    "File": record(
        "id object bytes created_at expires_at filename purpose status status_details",
        id=text("its id"), object={"const": "file"}, bytes=COUNT, created_at=SECONDS, expires_at=SECONDS,
        filename={"type": "string"}, purpose={"enum": ["batch", "batch_output"]}, status={"const": "processed"},
        status_details={"type": "null"},
    ),
    "FileList": page_of("File"),
    "FileDeleted": record("id object deleted", id=text("the file"), object={"const": "file"}, deleted=BOOL),
    "BatchRequest": {
        **record(
            "input_file_id endpoint completion_window",
            input_file_id=text("the file"), endpoint={"type": "string", "enum": list(ENDPOINTS), "description": "the `url` of each line"},
            completion_window={"const": WINDOW}, metadata=METADATA,
            output_expires_after=record("anchor seconds", anchor={"const": "created_at"}, seconds=KEEP),
        ),
        "example": {"input_file_id": "file-0198", "endpoint": ENDPOINTS[0], "completion_window": WINDOW},
    },
    "BatchObject": record(
        "id object endpoint model errors input_file_id completion_window status output_file_id error_file_id created_at expires_at "
        "request_counts metadata " + " ".join(f"{name}_at" for name in TIMES),
        id=text("its id; as a job it has the same"), object={"const": "batch"}, endpoint={"type": "string"},
        model={**NAME, "description": "if all lines name the same"},
        errors={"oneOf": [{"type": "null"}, record("object data", object={"const": "list"}, data=listed(record(
            "code message line param", code=text("such as invalid_url"), message={"type": "string"},
            line={"type": ["integer", "null"]}, param=NAME)))], "description": "why the file is not as expected"},
        input_file_id=text("the file"), completion_window={"const": WINDOW}, status={"enum": list(STATUSES)},
        output_file_id={**NAME, "description": "the answers of what succeeded"},
        error_file_id={**NAME, "description": "the answers, or errors, of all else"},
        created_at=SECONDS, expires_at=SECONDS, **{f"{name}_at": LATER for name in TIMES},
        request_counts=record("total completed failed", total=COUNT, completed=COUNT, failed=COUNT), metadata=METADATA,
    ),
    "BatchList": page_of("BatchObject"),
}  # fmt: skip
