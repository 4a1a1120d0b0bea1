"""llhttp, as httptools offers it, fed in slices that end where a head or a chunked body may end.

Its callbacks are methods of lists and dicts: what it finds is looked at after each slice, so that a header costs no call
of a Python function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools

Broken, Upgrade = (
    httptools.HttpParserError,
    httptools.HttpParserUpgrade,
)  # what `feed` raises; the second is one too
END = b"\r\n\r\n"  # of a head, and of a body in chunks


class Parser:
    """One httptools parser and what it has found.

    Args:
        chunked: whether it begins inside a chunked body, whose head another one has parsed.
    """

    __slots__ = (
        "_llhttp",
        "_open",
        "feed",
        "fields",
        "on_body",
        "on_header",
        "on_message_complete",
        "on_url",
        "pieces",
        "urls",
    )

    def __init__(self, chunked: bool = False) -> None:
        self.urls: list[bytes] = []
        self.fields: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self._open: list[None] = [None]
        self.on_url = self.urls.append
        self.on_header = self.fields.__setitem__
        self.on_body = self.pieces.append
        self.on_message_complete = self._open.clear
        self._llhttp: Any = httptools.HttpRequestParser(self)
        self.feed: Callable[[bytes], None] = self._llhttp.feed_data
        if chunked:
            self.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
            self.forget()

    @property
    def complete(self) -> bool:
        """Whether the end of the message has come."""
        return not self._open

    def method(self) -> bytes:
        """The method of the head that has come."""
        found: bytes = self._llhttp.get_method()
        return found

    def forget(self) -> None:
        """A head is done with: a body, or the next head, follows."""
        self.urls.clear()
        self.fields.clear()

    def next(self) -> None:
        """The message has ended."""
        self.forget()
        self.pieces.clear()
        self._open.append(None)


def end_of(before: bytes | bytearray, data: bytes, at: int) -> int:
    """Where in `data` the next empty line ends, from `at` on; 0 where it does not. `before` came before `data[at:]`."""
    tail = bytes(before[-3:])
    found = (tail + data[at : at + 3]).find(END)
    if found >= 0:
        return at + found + 4 - len(tail)
    found = data.find(END, at)
    return found + 4 if found >= 0 else 0
