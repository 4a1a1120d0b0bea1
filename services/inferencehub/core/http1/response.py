"""The heads of answers, and what a reply needs from its connection to write them."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Protocol

from inferencehub.core.values.tensors import Buffer

CLOSE = b"connection: close\r\n"
JSON = b"content-type: application/json\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_BODY = frozenset((204, 304))


class StatusLines(dict[int, bytes]):
    """The first line of an answer by status; without a phrase for unknown statuses."""

    def __missing__(self, status: int) -> bytes:
        return b"HTTP/1.1 %d \r\n" % status


STATUS_LINE = StatusLines(
    {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
)


class Carrier(Protocol):
    """What a reply needs from its connection."""

    def write(self, data: Buffer) -> bool:
        """Send bytes; False if the caller reads too slowly and some bytes have to wait."""

    def date(self) -> bytes:
        """Header lines that every answer has, such as the date."""

    def host(self) -> str:
        """The address that the caller has connected to."""

    def ended(self) -> None:
        """The answer has ended."""

    def abort(self) -> None:
        """Abort the connection."""


def refused(status: int, sentence: str, date: bytes) -> bytes:
    """The whole answer to bytes that never became a request; the connection closes after it."""
    body = json.dumps({"error": sentence}, separators=(",", ":"), ensure_ascii=False).encode()
    again = b"retry-after: 1\r\n" if status == 429 else b""
    length = b"content-length: %d\r\n" % len(body)
    return b"".join((STATUS_LINE[status], date, JSON, again, CLOSE, length, b"\r\n", body))
