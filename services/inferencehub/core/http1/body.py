"""Request bodies: refusals by the head alone, bodies that arrive in pieces, and decompression."""

from __future__ import annotations

from typing import Protocol

from inferencehub.core.http1.coding.inflate import CODINGS, inflate, too_large
from inferencehub.core.http1.handler import Body, Budget, Head, Request
from inferencehub.core.http1.head import NO_HTTP, Broken, Parser, end_of
from inferencehub.core.values.buffers import room
from inferencehub.core.values.errors import HubError, Kind, bad_input

NO_CODING = frozenset((b"", b"identity"))
FRAMING = 8  # bytes of framing that are allowed for each byte of a body; a chunk of one byte has 5


def refusal(request: Request) -> HubError | None:
    """The error if the head alone is a reason to refuse the body, else None."""
    head = request.head
    if not request.needs_body:
        return None
    if head.size is not None and head.size > request.most_bytes:
        return too_large(request.most_bytes, f"{head.size} bytes")
    if b"content-encoding" in head.fields:
        coding = content_coding(head)
        if coding not in CODINGS and coding not in NO_CODING:
            shown = coding.decode("latin-1")[:80]
            return HubError(
                Kind.WRONG_CODING,
                f"content-encoding '{shown}' is not taken, expected gzip, deflate or identity",
            )
    return None


def asks_first(head: Head) -> bool:
    """Whether the caller waits for "100 Continue" before it sends the body (RFC 9110 10.1.1); never in HTTP/1.0."""
    return head.version == "1.1" and head.fields.get(b"expect", b"").lower() == b"100-continue"


def hold(request: Request, size: int, budget: Budget) -> None:
    """Account for `size` more bytes of a request; if there is no room for them, set the request's error."""
    try:
        request.hold(budget, size)
    except HubError as error:
        request.error = request.error or kept(error)


def content_coding(head: Head) -> bytes:
    """The content coding of a body, in lower case."""
    return head.fields[b"content-encoding"].strip().lower()


def finish(request: Request, body: Body, budget: Budget) -> None:
    """Give a request its whole body, decompressed; if this fails, set the request's error."""
    if b"content-encoding" in request.head.fields:
        coding = content_coding(request.head)
        if coding in CODINGS:
            try:
                body = inflate(body, coding, request.most_bytes)
                request.hold(budget, len(body))
            except HubError as error:
                request.error = kept(error)
                return
    request.body = body


class Coming(Protocol):
    """A body that is not complete yet.

    `error` is the reason why the body cannot be used. `broken` is True if its end cannot be found. `wanted` is True if
    the body is kept, and `got` is the number of bytes that have arrived.
    """

    broken: bool
    error: HubError | None
    got: int
    wanted: bool

    @property
    def whole(self) -> bool:
        """Whether the body is complete."""

    @property
    def place(self) -> memoryview | None:
        """The memory into which the socket's next bytes are read; None if `take` gets them instead."""

    def take(self, data: bytes, at: int) -> int:
        """Take the bytes of the body from `data[at:]`; returns where in `data` they end."""

    def filled(self, size: int) -> None:
        """`size` bytes were read into `place`."""

    def content(self) -> Body:
        """The whole body."""

    def drop(self) -> None:
        """Drop the bytes that have arrived, and those that still arrive."""


def settle(request: Request, coming: Coming, budget: Budget) -> None:
    """Give a request the body that came for it, or the reason why it has none."""
    if coming.error is None:
        finish(request, coming.content(), budget)
    else:
        request.error = coming.error
        request.release()
    coming.drop()


class KnownBody:
    """A body whose length is in the head; the socket's bytes are read straight into its memory.

    Args:
        request: the request that has this body.
        size: bytes of the body.
        wanted: whether the body is kept.
        budget: accounts for the bytes that have arrived.
    """

    __slots__ = ("_body", "_budget", "_request", "_size", "broken", "error", "got", "wanted")

    def __init__(self, request: Request, size: int, wanted: bool, budget: Budget) -> None:
        self._request = request
        self._size = size
        self._budget = budget
        self._body = room(size) if wanted else memoryview(b"")
        self.wanted = wanted
        self.broken = False
        self.error: HubError | None = None
        self.got = 0

    @property
    def whole(self) -> bool:
        """See `Coming`."""
        return self.got == self._size

    @property
    def place(self) -> memoryview | None:
        """See `Coming`."""
        return self._body[self.got :] if self.wanted else None

    def take(self, data: bytes, at: int) -> int:
        """See `Coming`."""
        size = min(self._size - self.got, len(data) - at)
        if self.wanted:
            self._body[self.got : self.got + size] = memoryview(data)[at : at + size]
        self.filled(size)
        return at + size

    def filled(self, size: int) -> None:
        """See `Coming`."""
        self.got += size
        if self.wanted:
            try:
                self._request.hold(self._budget, size)
            except HubError as error:
                self.error = kept(error)

    def content(self) -> Body:
        """See `Coming`."""
        return self._body

    def drop(self) -> None:
        """See `Coming`."""
        self.wanted = False
        self._body = memoryview(b"")


class ChunkedBody:
    """A body in chunks, which the parser finds.

    Args:
        request: the request that has this body.
        parser: the parser that has parsed the head.
        wanted: whether the body is kept.
        budget: accounts for the bytes that have arrived.
        most_framing: allowed bytes of trailers and chunk extensions, besides FRAMING for each byte of the body.
    """

    __slots__ = (
        "_body", "_budget", "_framing", "_most_framing", "_parser", "_request", "_tail", "broken", "error", "got", "wanted",
    )  # fmt: skip
    place = None

    def __init__(
        self, request: Request, parser: Parser, wanted: bool, budget: Budget, most_framing: int
    ) -> None:
        self._request = request
        self._parser = parser
        self._budget = budget
        self._most_framing = most_framing
        self._body = bytearray()
        self._tail = b""
        self._framing = 0
        self.broken = False
        self.wanted = wanted
        self.error: HubError | None = None
        self.got = 0

    @property
    def whole(self) -> bool:
        """See `Coming`."""
        return self._parser.complete

    def take(self, data: bytes, at: int) -> int:
        """See `Coming`. Bytes that break the protocol make the body `broken`."""
        end = end_of(self._tail, data, at) or len(data)
        piece = data[at:end]
        self._tail = (self._tail + piece)[-3:]
        try:
            self._parser.feed(piece)
        except Broken:
            self._break("its chunks are none")
            return end
        got = sum(map(len, self._parser.pieces))
        self.got += got
        self._framing += len(piece) - got
        if self._framing > self._most_framing + FRAMING * self.got:
            self._break("it has too many bytes beside the content of its chunks")
        elif self.wanted:
            self._keep(got)
        self._parser.pieces.clear()
        self._parser.fields.clear()  # of trailers
        return end

    def _keep(self, size: int) -> None:
        most = self._request.most_bytes
        if self.got > most:
            self.error = too_large(most, f"more than {most} bytes")
            return
        try:
            self._request.hold(self._budget, size)
        except HubError as error:
            self.error = kept(error)
        else:
            self._body += b"".join(self._parser.pieces)

    def _break(self, why: str) -> None:
        self.broken = True
        self.error = bad_input(f"{NO_HTTP}: {why}")

    def filled(self, size: int) -> None:
        """See `Coming`; never called, because `place` is None."""

    def content(self) -> Body:
        """See `Coming`."""
        return memoryview(self._body)

    def drop(self) -> None:
        """See `Coming`."""
        self.wanted = False
        self._body = bytearray()


def kept(error: HubError) -> HubError:
    """A copy of an error that a request may keep. The traceback would refer back to the request: a reference cycle."""
    return HubError(error.kind, error.detail, error.retry_after)


def too_slow(within_s: float, got: int) -> HubError:
    """The error for a body that did not arrive in time."""
    return HubError(
        Kind.TOO_SLOW, f"expected the whole body within {within_s:g} s, got {got} bytes until then"
    )
