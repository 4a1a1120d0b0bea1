"""What a handler of HTTP requests gets and gives: the contract between the connection and everything above it.

plan    the head is complete, its body is not read: say how large the body may be, or refuse the request
begin   the body is here, or an error says why it is not: answer now or later, through the `Reply`
left    the caller has gone before the answer's end
cut_off the process ends before the answer was ready
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from inferencehub.core.http1.response import CLOSE, NO_BODY, STATUS_LINE, Carrier
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Buffer

Body = bytes | memoryview
Headers = list[tuple[bytes, bytes]]


class Budget(Protocol):
    """How many bytes the process may hold."""

    def take(self, size: int) -> None:
        """Account for `size` more bytes, or raise a `HubError`."""

    def add(self, size: int) -> None:
        """Account for `size` more bytes that are there already, whatever the limit."""

    def give(self, size: int) -> None:
        """`size` bytes are held no longer."""


class Head:
    """The head of one request, already checked by RFC 9112.

    Args:
        method: as sent.
        target: in origin form, as sent; absolute form is reduced to it.
        fields: the headers; names in lower case. Of equal names the last.
        headers: all headers in order, where names are equal; None where `fields` holds them all.
        version: "1.1" or "1.0".
        size: bytes of the body; 0 where there is none, None where it comes in chunks.
    """

    __slots__ = ("_headers", "fields", "method", "size", "target", "version")

    def __init__(
        self,
        method: str,
        target: bytes,
        fields: dict[bytes, bytes],
        headers: Headers | None,
        version: str,
        size: int | None,
    ) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self._headers = headers
        self.version = version
        self.size = size

    @property
    def headers(self) -> Headers:
        """All headers in order; names in lower case."""
        return list(self.fields.items()) if self._headers is None else self._headers

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the question mark; empty where there is none."""
        return self.target.partition(b"?")[2]


class Request:
    """One request; a handler may subclass it to keep what is its own.

    Args:
        head: its head.
        most_bytes: the largest body that is taken, as sent and once it is decompressed.
        error: why the request is refused without its body; None where it is not.
        needs_body: whether `begin` has to wait for the body; else the body is read and dropped.

    `body` is whole and decompressed once `begin` is called without an error. `held` bytes are accounted for.
    """

    __slots__ = ("_budget", "body", "error", "head", "held", "most_bytes", "needs_body")

    def __init__(
        self, head: Head, most_bytes: int, error: HubError | None = None, needs_body: bool = True
    ) -> None:
        self.head = head
        self.most_bytes = most_bytes
        self.error = error
        self.needs_body = needs_body
        self.body: Body = b""
        self.held = 0

    def hold(self, budget: Budget, size: int) -> None:
        """Account for `size` more bytes of this request.

        Raises:
            HubError: BUSY where the process holds too many.
        """
        budget.take(size)
        self._budget = budget
        self.held += size

    def release(self) -> None:
        """Give back what was accounted for: something else accounts for the body from now on, or it has gone."""
        if self.held:
            self._budget.give(self.held)
            self.held = 0


class Reply:
    """The answer to one request, given once: by `send`, or by `start`, `write` and `end`.

    Once the caller has left, or the answer has ended, nothing of it has an effect.

    Args:
        carrier: the connection.
        request: what is answered.
        close: whether the connection ends after this answer.

    `finish_head` is called with the status of an answer that is about to begin, and gives more lines of its head; it may
    set `close`, which may be set until then. A `send` behind `start` breaks the connection off. `drained` is called when
    a caller that read slowly has caught up.
    """

    __slots__ = ("_carrier", "_chunked", "_silent", "close", "drained", "finish_head", "request")

    def __init__(self, carrier: Carrier, request: Request, close: bool) -> None:
        self._carrier: Carrier | None = carrier
        self.request = request
        self.close = close
        self.drained: Callable[[], None] | None = None
        self.finish_head: Callable[[int], bytes] | None = None
        self._chunked: bool | None = None  # None until `start`
        self._silent = False

    @property
    def started(self) -> bool:
        """Whether the answer has begun, as a stream."""
        return self._chunked is not None

    @property
    def host(self) -> str:
        """The address that the caller has connected to; empty once it has left."""
        return "" if self._carrier is None else self._carrier.host()

    def send(self, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
        """Answer, in one write.

        Args:
            status: of the answer.
            lines: of its head, each as b"name: value\\r\\n"; length, date and connection are added.
            parts: its body; a memoryview is one of bytes.
        """
        carrier = self._carrier
        if carrier is None:
            return
        if self._chunked is not None:  # it is too late for another head
            carrier.abort()
            return
        if self.finish_head is not None:
            lines += self._finished(status)
        if status in NO_BODY or status < 200:
            length, parts = b"", ()
        else:
            length = b"content-length: %d\r\n" % sum(map(len, parts))
            if self.request.head.method == "HEAD":
                parts = ()
        connection = CLOSE if self.close else b""
        self._carrier = None
        carrier.write(
            b"".join((STATUS_LINE[status], carrier.date(), lines, length, connection, b"\r\n", *parts))
        )
        carrier.ended()

    def start(self, status: int, lines: bytes) -> None:
        """Begin an answer whose length is not known: in chunks, or until the connection ends for HTTP/1.0."""
        carrier = self._carrier
        if carrier is None:
            return
        if self.finish_head is not None:
            lines += self._finished(status)
        head = self.request.head
        self._silent = status in NO_BODY or head.method == "HEAD"
        self._chunked = head.version != "1.0" and status not in NO_BODY
        coding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        connection = CLOSE if self.close else b""
        carrier.write(b"".join((STATUS_LINE[status], carrier.date(), lines, coding, connection, b"\r\n")))

    def _finished(self, status: int) -> bytes:
        finish_head, self.finish_head = self.finish_head, None
        return b"" if finish_head is None else finish_head(status)

    def write(self, data: Buffer) -> bool:
        """Send a piece; False where the caller reads slowly: `drained` says when to go on."""
        carrier = self._carrier
        if carrier is None or self._silent or not len(data):
            return True
        return carrier.write(b"".join((b"%x\r\n" % len(data), data, b"\r\n")) if self._chunked else data)

    def end(self) -> None:
        """End an answer that was started."""
        carrier, self._carrier = self._carrier, None
        if carrier is None:
            return
        if self._chunked and not self._silent:
            carrier.write(b"0\r\n\r\n")
        self.drained = None
        carrier.ended()

    def abort(self) -> None:
        """Break the connection off: the caller sees that the answer is not whole."""
        carrier = self._carrier
        if carrier is not None:
            carrier.abort()

    def leave(self) -> None:
        """The connection is gone."""
        self._carrier = self.drained = self.finish_head = None


class Handler(Protocol):
    """Answers requests; one handler serves all connections of a server."""

    def plan(self, head: Head) -> Request:
        """Called before the body is read. Never raises."""

    def begin(self, request: Request, reply: Reply) -> None:
        """Answer: the body is whole, or `request.error` says why it is not there."""

    def left(self, request: Request) -> None:
        """The caller hung up after `plan` and before the answer's end."""

    def cut_off(self, request: Request, reply: Reply) -> None:
        """The process ends, and the answer has not, or its body has not come: end it now, or it is broken off."""
