"""llhttp, as httptools offers it, fed in slices that end where a head or a body in chunks may end.

Its callbacks are methods of lists and dicts: what it found is looked at after each slice, so that a header costs no call
of a Python function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools

Broken = httptools.HttpParserError  # what breaks the protocol
END = b"\r\n\r\n"  # of a head, and of a body in chunks


class Parser:
    """One httptools parser and what it has found.

    Args:
        chunked: whether it begins inside a body in chunks, whose head another one has parsed.

    `begun` is what has come of a head that is not whole.
    """

    __slots__ = (
        "_llhttp", "_open", "begun", "feed", "fields", "on_body", "on_header", "on_message_complete", "on_url", "pieces",
        "upgraded", "urls",
    )  # fmt: skip

    def __init__(self, chunked: bool = False) -> None:
        self.begun = b""
        self.urls: list[bytes] = []
        self.fields: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []  # of a body in chunks
        self.upgraded = False  # by its head; it takes nothing more then
        self._open: list[None] = [None]
        self.on_url = self.urls.append
        self.on_header = self.fields.__setitem__
        self.on_body = self.pieces.append
        self.on_message_complete = self._open.clear
        self._llhttp: Any = httptools.HttpRequestParser(self)
        self.feed: Callable[[bytes], None] = self._llhttp.feed_data
        if chunked:
            self.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")

    def take_head(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Take what there is of a head, from `at` on: the whole head's bytes, empty where it is not whole; its end.

        Raises:
            Broken: where it is none.
        """
        begun = self.begun
        if begun:
            end = end_of(begun, data, at)
        else:
            end = data.find(END, at) + 4
            if end < 4:
                end = 0
        raw = data[at : end or len(data)]
        try:
            self.feed(raw)
        except httptools.HttpParserUpgrade:
            self.upgraded = True
        if begun:
            raw = begun + raw
        if not end or not self.urls:  # a part of it, or empty lines in front
            self.begun = raw
            return b"", end or len(data)
        self.begun = b""
        return raw.lstrip(b"\r\n") if raw[0] == 13 else raw, end

    def method(self) -> bytes:
        """The method of the head that has come."""
        found: bytes = self._llhttp.get_method()
        return found

    @property
    def complete(self) -> bool:
        """Whether the end of the message has come."""
        return not self._open

    def next(self) -> None:
        """The message has ended, and the parser takes another head."""
        self.urls.clear()
        self.fields.clear()
        self._open.append(None)


def end_of(before: bytes, data: bytes, at: int) -> int:
    """Where in `data` the next empty line ends, from `at` on; 0 where it does not. `before` came before `data[at:]`."""
    tail = before[-3:]
    found = (tail + data[at : at + 3]).find(END)
    if found >= 0:
        return at + found + 4 - len(tail)
    found = data.find(END, at)
    return found + 4 if found >= 0 else 0
