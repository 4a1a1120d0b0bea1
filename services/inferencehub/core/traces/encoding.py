"""Spans as OTLP messages: an ExportTraceServiceRequest, serialized.

What a kind of span always says (its name, kind and attributes) is serialized by the library and kept. A span's ids, times
and links are fields of fixed size, so they are packed here and put in front: fields of a message may come in any order, and
parts of one follow each other. That takes 1 µs a span, the library alone 5.

https://protobuf.dev/programming-guides/encoding/ and opentelemetry/proto/trace/v1/trace.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from inferencehub import __version__

INTERNAL, SERVER = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER
CLIENT, CONSUMER = Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CONSUMER
Value = str | int | float | bool
Attributes = tuple[tuple[str, Value], ...]
# Tags, and lengths where there are some: trace_id 1, span_id 2, start 7, end 8; parent_span_id 4; links 13 with their ids.
HEAD = Struct("<2s16s2s8scQcQ")
LINK = Struct("<4s16s2s8s")
SPANS, SCOPE_SPANS, RESOURCE_SPANS = b"\x12", b"\x12", b"\x0a"


def span(trace_id: bytes, number: int, start_ns: int, end_ns: int, parent: bytes, *parts: bytes) -> bytes:
    """A span, serialized.

    Args:
        trace_id: 16 bytes.
        number: its id.
        start_ns, end_ns: Unix time in nanoseconds.
        parent: the id of its parent, 8 bytes; b"" without one.
        parts: other fields, serialized.
    """
    id = number.to_bytes(8, "big")
    head = HEAD.pack(b"\x0a\x10", trace_id, b"\x12\x08", id, b"\x39", start_ns, b"\x41", end_ns)
    return b"".join((head, b"\x22\x08" + parent if parent else b"", *parts))


def link(trace_id: bytes, number: int) -> bytes:
    """A link of a span to another one, serialized."""
    return LINK.pack(b"\x6a\x1c\x0a\x10", trace_id, b"\x12\x08", number.to_bytes(8, "big"))


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


usual_attribute = lru_cache(4096)(attribute)  # for values that come again


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


def request(spans: Mapping[Attributes, Iterable[bytes]]) -> bytes:
    """The spans of some processes as a request to a collector; a process is named by its attributes."""
    parts = []
    for attributes, each in spans.items():
        resource, scope = origin(attributes)
        scoped = b"".join((scope, *[part for one in each for part in (SPANS, length(one), one)]))
        whole = b"".join((resource, SCOPE_SPANS, length(scoped), scoped))
        parts += [RESOURCE_SPANS, length(whole), whole]
    return b"".join(parts)


def length(data: bytes) -> bytes:
    """The length of a field, as a varint."""
    size, digits = len(data), bytearray()
    while size > 127:
        digits.append(size & 127 | 128)
        size >>= 7
    digits.append(size)
    return bytes(digits)


def rejected(answer: bytes) -> str:
    """What a collector says in its answer of spans that it has not taken; "" if it has taken all, or says nothing."""
    try:
        said = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return ""
    return f"{said.rejected_spans} spans rejected: {said.error_message[:200]}" if said.rejected_spans else ""
