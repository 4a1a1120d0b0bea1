"""A request's body: what is refused by the head alone, how pieces become one, and how a content coding is undone."""

from __future__ import annotations

import zlib
from typing import Protocol

from inferencehub.core.http1.handler import Body, Budget, Head, Request
from inferencehub.core.http1.head import NO_HTTP, Broken, Parser, end_of
from inferencehub.core.values.buffers import room
from inferencehub.core.values.errors import HubError, Kind, bad_input

# What `zlib` calls the containers of each content coding (RFC 9110 8.4.1); "deflate" is zlib-wrapped.
WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
NO_CODING = frozenset((b"", b"identity"))
FRAMING = 8  # bytes that one byte of a body may need around it: chunks of one byte have 5


def refusal(request: Request) -> HubError | None:
    """Why a request's head alone is enough to refuse its body; None where it is not."""
    head = request.head
    if not request.needs_body:
        return None
    if head.size is not None and head.size > request.most_bytes:
        return too_large(request.most_bytes, f"{head.size} bytes")
    if b"content-encoding" in head.fields:
        coding = content_coding(head)
        if coding not in WINDOW_BITS and coding not in NO_CODING:
            shown = coding.decode("latin-1")[:80]
            return bad_input(f"content-encoding '{shown}' is not taken, expected gzip, deflate or identity")
    return None


def asks_first(head: Head) -> bool:
    """Whether the caller sends the body once it is told to (RFC 9110 10.1.1); never in HTTP/1.0."""
    return head.version == "1.1" and head.fields.get(b"expect", b"").lower() == b"100-continue"


def hold(request: Request, size: int, budget: Budget) -> None:
    """Account for `size` more bytes of a request; where there is no room for them, that is its error."""
    try:
        request.hold(budget, size)
    except HubError as error:
        request.error = request.error or kept(error)


def content_coding(head: Head) -> bytes:
    """The content coding of a body, in lower case."""
    return head.fields[b"content-encoding"].strip().lower()


def finish(request: Request, body: Body, budget: Budget) -> None:
    """Give a request its whole body, without its content coding; where that cannot be had, its error."""
    if b"content-encoding" in request.head.fields:
        bits = WINDOW_BITS.get(content_coding(request.head))
        if bits is not None:
            try:
                body = inflate(body, bits, request.most_bytes)
                request.hold(budget, len(body))
            except HubError as error:
                request.error = kept(error)
                return
    request.body = body


class Coming(Protocol):
    """A body that has not come whole.

    `error` says why it is not to be had, and `broken` that its end will never be found; `whole` whether all of it has come, `got` how many bytes have. `place` is
    where the socket may be read into; None where the bytes are to be given to `take`.
    """

    broken: bool
    error: HubError | None
    got: int
    wanted: bool

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""

    @property
    def place(self) -> memoryview | None:
        """Where the next bytes may be read into; None where they are to be given to `take`."""

    def take(self, data: bytes, at: int) -> int:
        """Take what belongs to the body, from `at` on; where in `data` it ends."""

    def filled(self, size: int) -> None:
        """`size` bytes were read into `place`."""

    def content(self) -> Body:
        """The whole body."""

    def drop(self) -> None:
        """What has come is not wanted any more; what still comes is dropped."""


class KnownBody:
    """A body whose length the head has told; it is read into the place where it stays.

    Args:
        request: whose body it is.
        size: bytes of it.
        wanted: whether it is kept.
        budget: accounts for what has come.
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
    """A body in chunks; the parser finds them.

    Args:
        request: whose body it is.
        parser: has parsed the head.
        wanted: whether it is kept.
        budget: accounts for what has come.
        most_framing: bytes of trailers and chunk extensions, beside those that each byte of the body may need.
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
        """See `Coming`; what breaks the protocol makes it `broken`."""
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
        """Never called: there is no place."""

    def content(self) -> Body:
        """See `Coming`."""
        return memoryview(self._body)

    def drop(self) -> None:
        """See `Coming`."""
        self.wanted = False
        self._body = bytearray()


def inflate(body: Body, window_bits: int, most: int) -> bytes:
    """A compressed body's content, refused as soon as it is larger than `most`.

    Raises:
        HubError: TOO_LARGE, or BAD_INPUT where the body is not compressed as its head says.
    """
    stream = zlib.decompressobj(window_bits)
    try:
        content = stream.decompress(body, most + 1)
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]
        raise bad_input(f"the body is not compressed as its content-encoding says: {reason}") from None
    if len(content) > most:
        raise too_large(most, f"more than {most} bytes once it is decompressed")
    if not stream.eof or stream.unused_data:
        got = "one that is cut short" if not stream.eof else f"{len(stream.unused_data)} bytes behind its end"
        raise bad_input(f"expected one whole compressed body, got {got}")
    return content


def kept(error: HubError) -> HubError:
    """An error as a request may have it: without its traceback, which leads to the request, and would be a circle."""
    return HubError(error.kind, error.detail, error.retry_after)


def too_large(most: int, got: str) -> HubError:
    """The error of a body that is too large."""
    return HubError(Kind.TOO_LARGE, f"the body has {got}, expected at most {most}")


def too_slow(within_s: float, got: int) -> HubError:
    """The error of a body that did not come in time."""
    return HubError(
        Kind.TOO_SLOW, f"expected the whole body within {within_s:g} s, got {got} bytes until then"
    )
