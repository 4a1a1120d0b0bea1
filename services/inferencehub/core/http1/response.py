"""Answers: their heads, and the `Reply` through which a handler gives one, whole or as a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

from inferencehub.core.http1.handler import Request
from inferencehub.core.tensors import Buffer

CLOSE = b"connection: close\r\n"
JSON = b"content-type: application/json\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_BODY = frozenset((204, 304))


class StatusLines(dict[int, bytes]):
    """The first line of an answer, by status."""

    def __missing__(self, status: int) -> bytes:
        return b"HTTP/1.1 %d \r\n" % status


STATUS_LINE = StatusLines(
    {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
)


class Carrier(Protocol):
    """What a reply needs of its connection."""

    def write(self, data: Buffer) -> bool:
        """Send; False where the caller reads too slowly for all of it."""

    def date(self) -> bytes:
        """The head lines that every answer has."""

    def host(self) -> str:
        """The address that the caller has connected to."""

    def ended(self) -> None:
        """The answer has ended."""

    def abort(self) -> None:
        """Break the connection off."""


class Reply:
    """The answer to one request, given once: by `send`, or by `start`, `write` and `end`.

    Once the caller has left, or the answer has ended, nothing of it has an effect.

    Args:
        carrier: the connection.
        request: what is answered.
        close: whether the connection ends after this answer.

    `close` may be set until `send` or `start`; a `send` behind `start` breaks the connection off. `drained` is called when a caller that read slowly has caught up.
    """

    __slots__ = ("_carrier", "_chunked", "_silent", "close", "drained", "request")

    def __init__(self, carrier: Carrier, request: Request, close: bool) -> None:
        self._carrier: Carrier | None = carrier
        self.request = request
        self.close = close
        self.drained: Callable[[], None] | None = None
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
        head = self.request.head
        self._silent = status in NO_BODY or head.method == "HEAD"
        self._chunked = head.version != "1.0" and status not in NO_BODY
        coding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        connection = CLOSE if self.close else b""
        carrier.write(b"".join((STATUS_LINE[status], carrier.date(), lines, coding, connection, b"\r\n")))

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
        self._carrier = self.drained = None


def refused(status: int, sentence: str, date: bytes) -> bytes:
    """The answer to what never became a request."""
    body = json.dumps({"error": sentence}, separators=(",", ":"), ensure_ascii=False).encode()
    again = b"retry-after: 1\r\n" if status == 429 else b""
    length = b"content-length: %d\r\n" % len(body)
    return b"".join((STATUS_LINE[status], date, JSON, again, CLOSE, length, b"\r\n", body))
