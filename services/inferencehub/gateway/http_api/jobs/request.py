"""What a job of HTTP keeps of its request, and whether its caller prefers one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from inferencehub.core.http1.handler import Head
from inferencehub.gateway.json_codec.binary import JSON_SIZE
from inferencehub.gateway.json_codec.files import CONTENT_TYPE, may_be_file

# Of the fields of a head, those that say how its body is read, and how long it may run.
FORWARDED = b":"  # begins the names of those for its model: no header of a call can have such a name
KEPT = (JSON_SIZE.lower(), b"x-request-timeout-ms", CONTENT_TYPE)


def kept_of(head: Head, headers: Mapping[str, str] | None) -> dict[bytes, bytes]:
    """The fields of a head that its job keeps. JSON has many content types that mean nothing, so it has none.

    Args:
        head: of the call.
        headers: those that its model gets, None for none.
    """
    kept = {name: head.fields[name] for name in KEPT if name in head.fields}
    kind = kept.get(CONTENT_TYPE)
    if kind is not None and not may_be_file(kind.decode("latin-1")):
        del kept[CONTENT_TYPE]
    for name, value in (headers or {}).items():
        kept[FORWARDED + name.encode()] = value.encode()
    return kept


def headers_of(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """The headers for its model that a job has kept."""
    return {
        name.removeprefix(FORWARDED).decode(): value.decode()
        for name, value in fields.items()
        if name.startswith(FORWARDED)
    }


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A request as it is kept.

    A gateway of the version before, in a roll-out, leaves out the fields behind those that it knows.

    Args:
        target, fields, body: of its head, and its body.
        id: of its call.
        trace: that of its call, see `Trace.kept`.
        sticky: of its call, see `Exchange`. It is no part of the digest: whether there is one depends on the file of traffic.
    """

    target: bytes
    fields: dict[bytes, bytes]
    body: bytes
    id: str
    trace: str = ""
    sticky: Mapping[bytes, bytes] = {}

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


def shown_time(at: float | None) -> str | None:
    """A time as JSON has it."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
