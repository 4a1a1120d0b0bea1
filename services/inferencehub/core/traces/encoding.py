"""Spans as OTLP messages: an ExportTraceServiceRequest, serialized.

What a kind of span always says (its name, kind and attributes) is serialized by the library, and kept. Ids, times and links
are fields of fixed size, so they are packed here, all of a span at once. Fields of a message may come in any order, and parts
of one follow each other. That takes less than 1 µs a span, the library alone 5.

A span's number is its id with the lowest byte first, as times are.

https://protobuf.dev/programming-guides/encoding/ and opentelemetry/proto/trace/v1/trace.proto
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct, calcsize
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from inferencehub import __version__
from inferencehub.core.oip.raw_fields import varint

INTERNAL, SERVER = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER
CLIENT, CONSUMER = Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CONSUMER
Value = str | int | float | bool
Attributes = tuple[tuple[str, Value], ...]
# Tags, and lengths where there are some: trace_id 1, span_id 2, parent_span_id 4, start 7, end 8; links 13 with their ids.
ROOT = Struct("<2s16s2sQcQcQ")
CHILD = "<{}s16s2sQcQcQ2sQ{}s"  # between what spans of its kind have in common
LINK = Struct("<4s16s2sQ")
TRACE_ID, SPAN_ID, PARENT, START, END = b"\x0a\x10", b"\x12\x08", b"\x22\x08", b"\x39", b"\x41"
LINKED = b"\x6a\x1c" + TRACE_ID
CHILD_BYTES = calcsize(CHILD.format(len(TRACE_ID), 0))  # without what is behind its own fields
SPANS, SCOPE_SPANS, RESOURCE_SPANS = b"\x12", b"\x12", b"\x0a"
length = lru_cache(4096)(varint)  # of a field


class Kind(NamedTuple):
    """What spans of one kind have in common.

    Args:
        pack: packs a span.
        before: what stands before a child's own fields, with the tag of the first one, serialized.
        behind: what stands behind them.
    """

    pack: Callable[..., bytes]
    before: bytes
    behind: bytes


def kind_of(behind: bytes, more: int = 0) -> Kind:
    """A kind of children, by what stands behind their own fields; `more` bytes follow, such as a link."""
    before = SPANS + length(CHILD_BYTES + len(behind) + more) + TRACE_ID
    return Kind(Struct(CHILD.format(len(before), len(behind))).pack, before, behind)


def child(kind: Kind, trace_id: bytes, number: int, parent: int, start_ns: int, end_ns: int) -> bytes:
    """A span below another one of its process or its caller, as `request` takes it.

    Args:
        kind: of the span.
        trace_id: 16 bytes.
        number, parent: its own, and that of the span above.
        start_ns, end_ns: Unix time in nanoseconds.
    """
    before, behind = kind.before, kind.behind
    return kind.pack(before, trace_id, SPAN_ID, number, START, start_ns, END, end_ns, PARENT, parent, behind)


def span(
    trace_id: bytes, number: int, start_ns: int, end_ns: int, parent: bytes, *parts: bytes
) -> tuple[bytes, bytes]:
    """A span, in parts as `request` takes them.

    Args:
        trace_id, number, start_ns, end_ns: as those of `child`.
        parent: the id of a span of who called, 8 bytes; b"" without one.
        parts: other fields, serialized.
    """
    own = ROOT.pack(TRACE_ID, trace_id, SPAN_ID, number, START, start_ns, END, end_ns)
    whole = b"".join((own, PARENT + parent if parent else b"", *parts))
    return SPANS + length(len(whole)), whole


def link(trace_id: bytes, number: int) -> bytes:
    """A link of a span to another one, serialized."""
    return LINK.pack(LINKED, trace_id, SPAN_ID, number)


@lru_cache(4096)
def fixed(
    name: str, kind: Span.SpanKind.ValueType, attributes: Attributes, error: str | None = None
) -> bytes:
    """What spans of one kind have in common, serialized.

    Args:
        name, kind, attributes: of the span.
        error: why it failed; None if it did not.
    """
    message = Span(name=name, kind=kind, attributes=[key_value(*pair) for pair in attributes])
    if error is not None:
        message.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error))
    return message.SerializeToString()


def attribute(name: str, value: Value) -> bytes:
    """One more attribute of a span, serialized."""
    return Span(attributes=[key_value(name, value)]).SerializeToString()


@lru_cache(1024)
def before_text(name: str, size: int) -> bytes:
    """What stands before the text of an attribute, serialized; it is the same for all texts of so many bytes."""
    whole = attribute(name, "x" * size)
    return whole[: len(whole) - size]


def state(text: str) -> bytes:
    """The `tracestate` of a span, serialized."""
    return Span(trace_state=text).SerializeToString()


def event(name: str, at_ns: int, attributes: Attributes) -> bytes:
    """An event of a span, serialized."""
    said = [key_value(*pair) for pair in attributes]
    message = Span.Event(name=name, time_unix_nano=at_ns, attributes=said)
    return Span(events=[message]).SerializeToString()


def key_value(name: str, value: Value) -> KeyValue:
    """An attribute."""
    if isinstance(value, bool):
        return KeyValue(key=name, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=name, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=name, value=AnyValue(double_value=value))
    return KeyValue(key=name, value=AnyValue(string_value=value))


@lru_cache(1024)
def origin(attributes: Attributes) -> tuple[bytes, bytes]:
    """What the spans of a process begin with, serialized: a ResourceSpans and a ScopeSpans, each without spans."""
    resource = Resource(attributes=[key_value(*pair) for pair in attributes])
    scope = InstrumentationScope(name="inferencehub", version=__version__)
    return ResourceSpans(resource=resource).SerializeToString(), ScopeSpans(scope=scope).SerializeToString()


def request(spans: Mapping[Attributes, list[bytes]]) -> bytes:
    """The spans of some processes, in parts, as a request to a collector; a process is named by its attributes."""
    parts: list[bytes] = []
    for attributes, own in spans.items():
        resource, scope = origin(attributes)
        size = len(scope) + sum(map(len, own))
        head = b"".join((resource, SCOPE_SPANS, length(size)))
        parts += (RESOURCE_SPANS, length(len(head) + size), head, scope)
        parts += own
    return b"".join(parts)


def rejected(answer: bytes) -> tuple[int, str]:
    """How many spans a collector says in its answer that it has not taken, and why; (0, "") if it has taken all."""
    try:
        said = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return 0, ""
    spans = said.rejected_spans
    return (spans, f"{spans} spans rejected: {said.error_message[:200]}") if spans > 0 else (0, "")
