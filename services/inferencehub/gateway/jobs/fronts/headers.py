"""What a caller says of a job, in headers or in metadata of the same names in lower case: see docs/jobs.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from time import time
from typing import NamedTuple

from inferencehub.core.values.errors import bad_input
from inferencehub.gateway.jobs.record import PRIORITIES, PRIORITY

KEY = re.compile(rb"[ -~]{1,255}")
LONGEST_S = 30 * 86_400  # that a job may wait, or its result be kept
LONGEST_WAIT_S = 60  # that a caller may wait for a job's end in one call


class JobHeaders(NamedTuple):
    """What a caller says of a job."""

    key: str
    priority: int
    keep_s: float | None
    not_before: float
    webhook: str


def job_headers(fields: Mapping[bytes, bytes]) -> JobHeaders:
    """The headers of a call that becomes a job.

    Raises:
        HubError: BAD_INPUT for one that is not as expected.
    """
    key = fields.get(b"idempotency-key", b"")
    if key and not KEY.fullmatch(key):
        raise bad_input("Idempotency-Key: expected 1 to 255 printable characters of ASCII")
    lowest, highest = PRIORITIES
    priority = number(fields, b"x-job-priority", lowest, highest)
    keep_s = number(fields, b"x-job-ttl-s", 1, LONGEST_S)
    return JobHeaders(
        key.decode(),
        PRIORITY if priority is None else priority,
        keep_s,
        not_before_of(fields),
        fields.get(b"x-webhook-url", b"").decode("latin-1"),
    )


def number(fields: Mapping[bytes, bytes], name: bytes, least: int, most: int) -> int | None:
    """A header with a whole number; None if there is none.

    Raises:
        HubError: BAD_INPUT if it is none in this range.
    """
    text = fields.get(name)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
        shown = text[:40].decode("latin-1")
        raise bad_input(
            f"{name.decode().title()}: expected a whole number from {least} to {most}, got '{shown}'"
        )
    return int(text)


def not_before_of(fields: Mapping[bytes, bytes]) -> float:
    """When a job may run, in Unix time; 0 for at once.

    Raises:
        HubError: BAD_INPUT if the header is no time with a zone, or too far away.
    """
    text = fields.get(b"x-job-not-before", b"").decode("latin-1")
    if not text:
        return 0.0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise bad_input(
            f"X-Job-Not-Before: expected a time with a zone such as 2030-01-31T09:00:00Z, got '{text[:40]}'"
        )
    if at.timestamp() > time() + LONGEST_S:
        raise bad_input(
            f"X-Job-Not-Before: expected a time within {LONGEST_S // 86_400} days, got '{text[:40]}'"
        )
    return at.timestamp()
