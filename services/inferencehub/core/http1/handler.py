"""The contract between a connection and the handler of its requests.

plan    the head is complete and the body is not read: say how large the body may be, or refuse the request
begin   the body is complete, or an error says why it is not: answer now or later, through the `Reply`
left    the caller has left before the end of the answer
cut_off the process ends before the answer is ready
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from inferencehub.core.auth.peer import NOBODY, Peer
from inferencehub.core.http1.response import CLOSE, NO_BODY, STATUS_LINE, Carrier
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Buffer

Body = bytes | memoryview
Headers = list[tuple[bytes, bytes]]


class Budget(Protocol):
    """The limit on the bytes that the process holds; see `ByteBudget`."""

    def take(self, size: int) -> None:
        """Account for `size` more bytes.

        Raises:
            HubError: if there is no room for them.
        """

    def add(self, size: int) -> None:
        """Account for `size` more bytes that are in memory already, even if they exceed the limit."""

    def give(self, size: int) -> None:
        """Give `size` bytes back."""


class Head(msgspec.Struct, eq=False):
    """The head of one request, checked by the rules of RFC 9112.

    Args:
        method: as sent.
        target: in origin form, as sent; an absolute form is reduced to it.
        fields: values by name in lower case; if a name comes several times, the last value.
        repeated: all headers in order, if a name comes several times; None if `fields` has them all.
        version: "1.1" or "1.0".
        size: bytes of the body; 0 if there is none, None if it comes in chunks.
        keep_alive: whether the caller may send more after this request; never in HTTP/1.0.
        peer: the other end of the connection.
    """

    method: str
    target: bytes
    fields: dict[bytes, bytes]
    repeated: Headers | None
    version: str
    size: int | None
    keep_alive: bool
    peer: Peer = NOBODY

    @property
    def headers(self) -> Headers:
        """All headers in order; names in lower case."""
        return list(self.fields.items()) if self.repeated is None else self.repeated

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the question mark; empty where there is none."""
        return self.target.partition(b"?")[2]


class Request:
    """One request; a handler may subclass it to add its own fields.

    Args:
        head: its head.
        most_bytes: the largest body that is accepted, before and after decompression.
        error: why the request is refused without its body; None if it is not refused.
        needs_body: whether `begin` has to wait for the body; else the body is read and dropped.

    If there is no error, `body` is complete and decompressed when `begin` is called. `held` is the number of bytes that
    the request has taken from the budget.
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
            HubError: BUSY if the process holds too many.
        """
        budget.take(size)
        self._budget = budget
        self.held += size

    def hold_anyway(self, budget: Budget, size: int) -> None:
        """Account for `size` more bytes of this request that are in memory already, even if there is no room."""
        budget.add(size)
        self._budget = budget
        self.held += size

    def release(self) -> None:
        """Give all held bytes back: something else accounts for them from now on, or they are dropped."""
        if self.held:
            self._budget.give(self.held)
            self.held = 0


class Reply:
    """The answer to one request, given once: by `send`, or by `start`, `write` and `end`.

    After the caller has left, or the answer has ended, these methods have no effect.

    Args:
        carrier: the connection.
        request: the request that is answered.
        close: whether the connection closes after this answer; it may be set until the answer begins.

    `finish_head` is called when an answer is about to begin, with its status. It returns more header lines, and may set
    `close`. A `send` after `start` aborts the connection. `drained` is called when a caller that read slowly has read
    everything.
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
        """Whether `start` has begun the answer."""
        return self._chunked is not None

    @property
    def host(self) -> str:
        """The address that the caller has connected to; "" after it has left."""
        return "" if self._carrier is None else self._carrier.host()

    def send(self, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
        """Answer, in one write.

        Args:
            status: the HTTP status.
            lines: header lines, each as b"name: value\\r\\n"; length, date and connection are added.
            parts: the body, in parts; a memoryview must have items of one byte.
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
            size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
            length = b"content-length: %d\r\n" % size
            if self.request.head.method == "HEAD":
                parts = ()
        connection = CLOSE if self.close else b""
        self._carrier = None
        carrier.write(
            b"".join((STATUS_LINE[status], carrier.date(), lines, length, connection, b"\r\n", *parts))
        )
        carrier.ended()

    def start(self, status: int, lines: bytes) -> None:
        """Begin an answer of unknown length: in chunks, or for HTTP/1.0 until the connection closes."""
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
        """Send a piece of the body; False if the caller reads slowly: then wait until `drained` is called."""
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
        """Abort the connection: the caller sees that the answer is not complete."""
        carrier = self._carrier
        if carrier is not None:
            carrier.abort()

    def leave(self) -> None:
        """The connection is gone."""
        self._carrier = self.drained = self.finish_head = None


class Handler(Protocol):
    """Answers requests; one handler serves all connections of a server."""

    def plan(self, head: Head) -> Request:
        """Called before the body is read. It never raises: it sets the request's `error`."""

    def begin(self, request: Request, reply: Reply) -> None:
        """Answer the request: its body is complete, or `request.error` says why not."""

    def left(self, request: Request) -> None:
        """The caller hung up after `plan` and before the end of the answer."""

    def cut_off(self, request: Request, reply: Reply) -> None:
        """The process ends before the answer, or before the body is complete: end the answer now, or it is aborted."""
