"""What a handler of HTTP requests gets and gives: the contract between the connection and everything above it.

plan    the head is complete, its body is not read: say how large the body may be, or refuse the request
begin   the body is here, or an error says why it is not: answer now or later, through the `Reply`
left    the caller has gone before the answer's end
cut_off the process ends before the answer was ready
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inferencehub.core.values.errors import HubError

if TYPE_CHECKING:
    from inferencehub.core.http1.response import Reply

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
