"""The context of a trace as it travels in headers: `traceparent` and `tracestate` (W3C).

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import getrandbits
from typing import NamedTuple

import msgspec

PARENT, STATE = b"traceparent", b"tracestate"
# Version 00 has nothing behind its flags; later versions may. Version ff, and ids of zeros alone, are not valid.
SOUND = re.compile(
    rb"(?!ff)(?!00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
PRINTABLE = re.compile(rb"[ -~]*")
MOST_STATE = 512  # bytes that must be passed on at least (3.3.1.5)
SAMPLED = 1
SPANS = 16  # a call's spans have numbers that follow each other, fewer than so many
QUEUE, CALL, POD_QUEUE, POD_RUN = 1, 2, 3, 4  # numbers of spans, behind that of their call


class Parent(NamedTuple):
    """What a `traceparent` says: ids in hexadecimal, and whether the caller keeps the trace."""

    trace_id: str
    span_id: str
    sampled: bool


class Trace(msgspec.Struct, gc=False):
    """A call's place in its trace.

    Args:
        trace_id: in hexadecimal.
        number: the id of the call's span, with the lowest byte first. Its other spans have the next ones, see `SPANS`.
        parent_id: the span of who called, in hexadecimal; "" if the trace begins here.
        sampled: whether the trace is kept, also if nothing goes wrong.
        state: what came with the call, to pass on; "" for nothing.
    """

    trace_id: str
    number: int
    parent_id: str
    sampled: bool
    state: str = ""

    @property
    def parent(self) -> str:
        """The `traceparent` for what the call calls."""
        return f"00-{self.trace_id}-{self.number.to_bytes(8, 'little').hex()}-{self.sampled:02x}"

    def child(self) -> Trace:
        """The place of a part of the call that has spans of its own."""
        number = getrandbits(64) & ~(SPANS - 1) | 1
        return Trace(self.trace_id, number, self.number.to_bytes(8, "little").hex(), self.sampled, self.state)

    @property
    def kept(self) -> str:
        """A text for what goes on with the trace later; see `child_of`."""
        return f"{self.parent} {self.state}" if self.state else self.parent

    @property
    def headers(self) -> dict[str, str]:
        """The headers for what the call calls."""
        headers = {"traceparent": self.parent}
        if self.state:
            headers["tracestate"] = self.state
        return headers


def read_parent(value: bytes) -> Parent | None:
    """What a `traceparent` says; None if it is not valid, and so is left out."""
    found = SOUND.fullmatch(value)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    return Parent(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & SAMPLED))


def passed_on(parent: bytes, state: bytes) -> Trace | None:
    """The place of who calls, for a service that passes it on and has no span of its own; None if it is not valid."""
    found = read_parent(parent)
    if found is None:
        return None
    number = int.from_bytes(bytes.fromhex(found.span_id), "little")
    return Trace(found.trace_id, number, "", found.sampled, sound(state, MOST_STATE))


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Both headers, of some that come several times: lists are one list then, and a second parent makes both invalid."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (PARENT, STATE):
            fields[name] = fields[name] + b"," + value if name in fields else value
    return fields


def sound(value: bytes, most: int) -> str:
    """A header's value as text; "" if it is longer than `most` bytes or not printable."""
    return value.decode() if len(value) <= most and PRINTABLE.fullmatch(value) else ""
