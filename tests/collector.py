"""A collector of traces for tests: a real HTTP server in a thread, which decodes what comes and keeps the spans."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


class Seen(NamedTuple):
    """A span that has come."""

    service: str
    instance: str
    span: Span

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def facts(self) -> dict[str, object]:
        return facts_of(self.span.attributes)

    @property
    def links(self) -> set[tuple[str, str]]:
        return {(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links}

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR


def facts_of(attributes: Sequence[KeyValue]) -> dict[str, object]:
    """Attributes as a dict."""
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in attributes
    }


@dataclass
class Collector:
    """What has come, and `asked`, when.

    `answer` is the status that it gives, `rejects` the spans that it says it has not taken, `after` its Retry-After, and
    `stuck` an event that it waits for before. Where it `drips`, its answer comes a byte every 20 ms, without an end.
    """

    port: int = 0
    scheme: str = "http"
    spans: list[Seen] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    resources: list[dict[str, object]] = field(default_factory=list)
    requests: int = 0
    answer: int = 200
    rejects: int = 0
    after: str = ""
    drips: bool = False
    asked: list[float] = field(default_factory=list)
    stuck: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def named(self, name: str) -> list[Seen]:
        """The spans of a name."""
        return [one for one in self.spans if one.span.name == name]

    def of(self, trace_id: str) -> dict[str, Seen]:
        """The spans of a trace, by service and name."""
        return {
            f"{one.service.removeprefix('inferencehub-')}: {one.span.name}": one
            for one in self.spans
            if one.trace_id == trace_id
        }

    def take(self, body: bytes) -> None:
        """Decode a request, and keep its spans."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = facts_of(group.resource.attributes)
            self.resources.append(facts)
            service, instance = str(facts["service.name"]), str(facts["service.instance.id"])
            for scope in group.scope_spans:
                self.spans += [Seen(service, instance, span) for span in scope.spans]


@contextmanager
def collecting(context: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """A collector that runs; with TLS if there is a context for it."""
    collector = Collector()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if collector.stuck is not None:
                collector.stuck.wait(60)
            status = collector.answer  # a test may change it as soon as the request counts
            collector.requests += 1
            collector.asked.append(monotonic())
            if collector.drips:
                self.drip()
                return
            if status == 200:
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                plain = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.take(plain)
            said = ExportTraceServiceResponse()
            said.partial_success.rejected_spans = collector.rejects
            answer = said.SerializeToString()
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            if collector.after:
                self.send_header("retry-after", collector.after)
            self.end_headers()
            self.wfile.write(answer)

        def drip(self) -> None:
            """Answer until the other end has left, or nobody can wait any more."""
            self.close_connection = True
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nx-long: ")
                for _ in range(1500):
                    self.wfile.write(b"x")
                    sleep(0.02)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        collector.scheme = "https"
    collector.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        if collector.stuck is not None:
            collector.stuck.set()
        server.shutdown()
        thread.join()
        server.server_close()
