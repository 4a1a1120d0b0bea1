"""Turns bytes into a checked head: llhttp (through httptools), and the rules of RFC 9112 that llhttp does not check.

llhttp refuses bare CR and LF, folded lines, NUL, invalid names, and a Content-Length that is not a number, is repeated,
or comes with a transfer coding. This file refuses versions other than 1.0 and 1.1, CONNECT, invalid targets and hosts,
and all transfer codings except `chunked` alone.

The parser is fed in slices that end where a head, or a body in chunks, may end. Its callbacks are methods of lists and
dicts, and the results are read after each slice. So a header costs no call of a Python function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import httptools

from inferencehub.core.http1.handler import Head, Headers

Broken = httptools.HttpParserError  # the error for bytes that break the protocol
EMPTY_LINES = re.compile(rb"(?:\r\n)*")
END = b"\r\n\r\n"  # the end of a head, and of a body in chunks
# A request line with a target in origin-form (3, 3.2.1); no fragment.
LINE = re.compile(rb"([A-Z-]+) (/[!\"$-~]*) HTTP/1\.([01])\r\n")
ABSOLUTE = re.compile(rb"https?://([^/?#]*)(/[!\"$-~]*|\?[!\"$-~]*|)", re.IGNORECASE)  # 3.2.2
# uri-host [":" port] of RFC 9110 7.2: a name or an address; empty where the target has no authority.
HOST = re.compile(
    rb"(?:[\w.~!$&'()*+,;=-]*(?:%[0-9A-Fa-f]{2}[\w.~!$&'()*+,;=-]*)*|\[[\w.:~!$&'()*+,;=-]+\])(?::\d*)?",
    re.ASCII,
)
METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")}
NEVER = frozenset((b"CONNECT", b"PRI"))  # CONNECT is for proxies; PRI begins HTTP/2
CR = 13
MAX_DIGITS = 19  # of a Content-Length
NO_HTTP = "expected an HTTP/1.1 request, got something that is none"


class Parser:
    """One httptools parser and its results.

    Args:
        chunked: whether it begins inside a body in chunks, whose head another parser has read.

    `begun` has the bytes of a head that is not complete yet, `raw` those of the last whole head, and `fields` its
    headers; if a name comes several times, the last value.
    """

    __slots__ = (
        "_blank", "_open", "begun", "feed", "fields", "on_body", "on_header", "on_message_complete", "pieces", "raw",
        "upgraded",
    )  # fmt: skip

    def __init__(self, chunked: bool = False) -> None:
        self.begun = b""
        self.raw = b""
        self._blank = True  # whether `begun` is only empty lines
        self.fields: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []  # the pieces of a body in chunks
        self.upgraded = False  # whether the head offers another protocol; the parser then stops
        self._open: list[None] = [None]
        self.on_header = self.fields.__setitem__
        self.on_body = self.pieces.append
        self.on_message_complete = self._open.clear
        llhttp: Any = httptools.HttpRequestParser(self)
        self.feed: Callable[[bytes], None] = llhttp.feed_data
        if chunked:
            self.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")

    def take_head(self, data: bytes, at: int) -> int:
        """Parse a head, or a part of it, from `data[at:]`; returns where in `data` this ends.

        `raw` then has the bytes of the whole head, without empty lines in front; it is empty if there is no whole head.

        Raises:
            Broken: if the bytes break the protocol.
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
        self.begun, self.raw = b"", raw
        if not end or raw[0] == CR:
            self._keep(begun, raw, bool(end))
        return end or len(data)

    def _keep(self, begun: bytes, raw: bytes, whole: bool) -> None:
        """Keep what is no whole head yet. A server skips empty lines in front of a head (2.2)."""
        self._blank = (not begun or self._blank) and not raw[len(begun) :].strip(b"\r\n")
        if whole and not self._blank:
            self.raw = raw[EMPTY_LINES.match(raw).end() :]  # type: ignore[union-attr]  # it always matches
        else:
            self.begun, self.raw = raw, b""

    @property
    def complete(self) -> bool:
        """Whether the end of the message has arrived."""
        return not self._open

    def skip(self, body: bytes) -> None:
        """Pass over a body whose length is in the head, and prepare for the next head."""
        if body:
            self.feed(body)
            self.pieces.clear()
        self.fields.clear()
        self._open.append(None)


def end_of(before: bytes, data: bytes, at: int) -> int:
    """Where in `data` the next empty line ends, from `at` on; 0 if there is none. `before` came before `data[at:]`."""
    tail = before[-3:]
    found = (tail + data[at : at + 3]).find(END)
    if found >= 0:
        return at + found + 4 - len(tail)
    found = data.find(END, at)
    return found + 4 if found >= 0 else 0


class BadHead(Exception):
    """A head that never becomes a request.

    Args:
        status: the HTTP status of the answer.
        sentence: the error text for the caller.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def no_http(why: str) -> BadHead:
    """The refusal of bytes that break the protocol."""
    return BadHead(400, f"{NO_HTTP}: {why}")


def read_head(raw: bytes, parsed: dict[bytes, bytes]) -> Head:
    """Check a head that llhttp has accepted.

    Args:
        raw: all bytes of the head, without empty lines in front, with the empty line at its end.
        parsed: headers as llhttp found them; if a name comes several times, the last value.

    Raises:
        BadHead: if the head breaks a rule.
    """
    headers: Headers | None = None
    fields = {name.lower(): value.strip(b" \t") for name, value in parsed.items()}
    if raw.count(b"\n") != len(fields) + 2:  # a name comes several times
        headers = all_headers(raw)
        fields = dict(headers)
    host = fields.get(b"host")
    line = LINE.match(raw)
    if line is not None:
        method, target, minor = line.groups()
    else:
        method, target, minor, host = other_line(raw, host)
    name = METHODS[method] if method in METHODS else other_method(method)
    if host is None:
        if minor == b"1":
            raise no_http("it has no Host header")
    elif not HOST.fullmatch(host):
        raise no_http("its Host is no host and port")
    if headers is not None and [name for name, _ in headers].count(b"host") > 1:
        raise no_http("it has more than one Host header")
    size: int | None = 0
    if b"content-length" in fields:
        if len(fields[b"content-length"]) > MAX_DIGITS:
            raise no_http(f"its Content-Length has more than {MAX_DIGITS} digits")
        size = int(fields[b"content-length"])
    version = "1.1" if minor == b"1" else "1.0"
    keep_alive = version == "1.1" and (b"connection" not in fields or stays(headers or fields.items()))
    if b"transfer-encoding" in fields:
        check_coding(fields, headers, version)
        size = None
    return Head(name, target, fields, headers, version, size, keep_alive)


def stays(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the Connection headers do not close the connection."""
    told = [value for name, value in headers if name == b"connection"]
    return b"close" not in [option.strip() for option in b",".join(told).lower().split(b",")]


def other_method(method: bytes) -> str:
    """A method that is not in `METHODS`, as text.

    Raises:
        BadHead: if it is no method for a server of HTTP/1.1.
    """
    if method in NEVER:
        raise no_http("its method is none that a server of HTTP/1.1 takes")
    return str(method, "ascii")


def other_line(raw: bytes, host: bytes | None) -> tuple[bytes, bytes, bytes, bytes | None]:
    """Method, target, minor version and host for a request line that `LINE` does not match.

    Raises:
        BadHead: if the line has no form that a server accepts.
    """
    line = raw[: raw.index(b"\r\n")]
    method, *rest = line.split(b" ")
    other_method(method)
    if len(rest) != 2 or rest[1] not in (b"HTTP/1.1", b"HTTP/1.0"):
        if re.search(rb" HTTP/2\.0$", line):
            raise BadHead(505, "expected a request of HTTP/1.1 or 1.0, got one of HTTP/2.0")
        raise no_http("its first line is not a method, a target and HTTP/1.1, with one space between")
    target, host = reduced(rest[0], method, host)
    return method, target, rest[1][-1:], host


def all_headers(raw: bytes) -> Headers:
    """All headers of a head, in order; names in lower case, values without space around them."""
    pairs = [line.partition(b":") for line in raw.split(b"\r\n")[1:-2]]
    return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]


def reduced(target: bytes, method: bytes, host: bytes | None) -> tuple[bytes, bytes | None]:
    """The origin form of a target in another form, and the host that counts.

    Raises:
        BadHead: if a server does not accept the target's form.
    """
    if target == b"*" and method == b"OPTIONS":
        return target, host
    found = ABSOLUTE.fullmatch(target)
    if found is None or not found[1]:
        raise no_http("its target is no path")
    if host is None or not HOST.fullmatch(host):
        return target, host  # the caller refuses this host
    rest = found[2]
    # The target's authority comes before the Host header (3.2.2).
    return rest if rest.startswith(b"/") else b"/" + rest, found[1]


def check_coding(fields: dict[bytes, bytes], headers: Headers | None, version: str) -> None:
    """Check that the transfer coding is `chunked` alone (RFC 9112 6.1).

    Raises:
        BadHead: 501 for another coding before `chunked`, 400 for all other errors.
    """
    if version == "1.0":
        raise no_http("it is of HTTP/1.0 and has a transfer coding")
    if b"content-length" in fields:
        raise no_http("it has a length and a transfer coding")
    given = [value for name, value in headers or fields.items() if name == b"transfer-encoding"]
    codings = b",".join(given).lower()
    if codings == b"chunked":
        return
    if codings.rpartition(b",")[2].strip() == b"chunked":
        shown = codings.decode("latin-1")[:40]
        raise BadHead(501, f"expected no transfer coding but chunked, got '{shown}'")
    raise no_http("its transfer coding is not chunked")
