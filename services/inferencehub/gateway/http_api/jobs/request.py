"""What a job of HTTP keeps of its request, and what its caller says of the job in headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from time import time
from typing import NamedTuple

import msgspec

from inferencehub.core.http1.handler import Head
from inferencehub.core.values.errors import bad_input
from inferencehub.gateway.jobs.record import PRIORITIES, PRIORITY
from inferencehub.gateway.json_codec.binary import JSON_SIZE

# Of the fields of a head, those that say how its body is read, and how long it may run.
KEPT = (JSON_SIZE.lower(), b"x-request-timeout-ms")
KEY = re.compile(rb"[ -~]{1,255}")
LONGEST_S = 30 * 86_400  # that a job may wait, or its result be kept


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A request as it is kept."""

    target: bytes
    fields: dict[bytes, bytes]
    body: bytes
    id: str

    def packed(self) -> tuple[bytes, str]:
        """The request as bytes, and the digest of what one idempotency key stands for."""
        digest = sha256(msgspec.msgpack.encode([self.target, sorted(self.fields.items())]))
        digest.update(self.body)
        return msgspec.msgpack.encode(self), digest.hexdigest()

    @classmethod
    def unpacked(cls, data: bytes) -> Kept:
        """A request from its bytes."""
        return msgspec.msgpack.decode(data, type=cls)


class Preference(NamedTuple):
    """RFC 7240: whether the answer may come later, and for how many seconds the caller waits for it."""

    later: bool
    wait_s: float


def preference_of(head: Head) -> Preference:
    """What a request prefers. What is not understood is left out, and of two the first counts, as section 2 says."""
    value = head.fields[b"prefer"]
    if head.repeated is not None:
        value = b",".join([value for name, value in head.repeated if name == b"prefer"])
    found: dict[str, str] = {}
    for part in value.decode("latin-1").split(","):
        name, _, text = part.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), text.strip().strip('"'))
    wait = found.get("wait", "")
    wait_s = float(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 8 else 0.0
    return Preference("respond-async" in found, wait_s)


class JobHeaders(NamedTuple):
    """What a caller says of a job: see docs/jobs.md."""

    key: str
    priority: int
    keep_s: float | None
    not_before: float
    webhook: str


def job_headers(fields: Mapping[bytes, bytes]) -> JobHeaders:
    """The headers of a request that becomes a job.

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


def shown_time(at: float | None) -> str | None:
    """A time as JSON has it."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
