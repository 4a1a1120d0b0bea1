"""One connection: reads heads and bodies, and hands one request after another to the handler.

The parser gets bytes up to the end of a head. While this request is not answered, or its answer is not sent, the bytes
behind it wait as they are. So waiting requests cost no more memory than their bytes, and an error in the protocol is
answered after the good requests before it. A body whose length is known is cut out of the bytes that came with its head,
and the rest of it is read from the socket straight into the body's memory. The parser skips a small body that came
whole; after any other, a new parser reads the next head.

An offer to switch to another protocol is ignored (RFC 9110 7.8).
"""

from __future__ import annotations

from typing import Any

from inferencehub.core.http1 import body as bodies
from inferencehub.core.http1.handler import Reply, Request
from inferencehub.core.http1.head import NO_HTTP, BadHead, Broken, Parser, read_head
from inferencehub.core.http1.lifetime import Lifetime
from inferencehub.core.http1.limits import Serving
from inferencehub.core.http1.response import CONTINUE
from inferencehub.core.values.errors import HubError

# All connections read into this buffer; its bytes are taken out before the next read.
BUFFER = memoryview(bytearray(2**16))
SMALL = 4096  # a head, or a body that came with it, of up to so many bytes is not accounted for


class Connection(Lifetime):
    """See the module's text. A server makes one object for each connection, and uvicorn shuts it down."""

    __slots__ = ("_busy", "_coming", "_counted", "_parser", "_unfed")

    def __init__(self, serving: Serving, server_state: Any) -> None:
        super().__init__(serving, server_state)
        self._parser = Parser()
        self._unfed = b""  # bytes behind a request that is not answered; the parser has not seen them
        self._counted = 0  # bytes of `_unfed` and of an incomplete head that are in the budget
        self._coming: bodies.Coming | None = None  # an incomplete body, wanted or dropped
        self._busy = False  # True while `_take` runs

    # --- bytes that arrive ---

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`: the memory for the next bytes."""
        coming = self._coming
        return BUFFER if coming is None else coming.place or BUFFER

    def buffer_updated(self, size: int) -> None:
        """See `asyncio.BufferedProtocol`: `size` bytes have arrived."""
        self._serving.received += size
        coming = self._coming
        if coming is not None and coming.place is not None:
            coming.filled(size)
            if coming.error is not None or coming.whole:
                self._settle(coming)
        elif not self._deaf:
            data = bytes(BUFFER[:size])
            if self._unfed:
                data, self._unfed = self._unfed + data, b""
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Begin the requests in `data`, one after another, until one is not answered at once or is not complete."""
        at, size, turn, limits = 0, len(data), 0, self._serving.limits
        self._busy = True
        while at < size and not self._deaf:
            coming = self._coming
            if coming is not None:
                at = coming.take(data, at)
                if coming.error is not None or coming.whole:
                    self._settle(coming)
            elif self._reply is not None or self._stuck or turn == limits.max_turn:
                break
            else:
                turn += 1
                at = self._take_head(data, at)
        self._busy = False
        if at < size and not self._deaf:
            self._unfed = data[at:]
            if self._reply is None and not self._stuck:
                self._loop.call_soon(self._go_on)  # other connections have their turn first
            if size - at >= limits.max_head_bytes:
                self._pause()
        if self._counted or self._unfed or self._parser.begun:
            self._account()

    def _go_on(self) -> None:
        """Take the bytes that wait, if no request or answer holds them up any more."""
        if self._unfed and self._reply is None and not self._stuck:
            data, self._unfed = self._unfed, b""
            try:
                self._take(data)
            except Exception:
                self.abort()  # the event loop does the same if `buffer_updated` raises
                raise
        if len(self._unfed) < self._serving.limits.max_head_bytes:
            self._resume()

    def _take_head(self, data: bytes, at: int) -> int:
        """Parse a head, and begin its request if the head is complete; returns where in `data` this ends."""
        parser, serving = self._parser, self._serving
        in_pieces = parser.begun
        try:
            end = parser.take_head(data, at)
            raw = parser.raw
            if len(raw or parser.begun) > serving.limits.max_head_bytes:
                return self._refuse(431, serving.limits.too_much_head)
            if not raw:
                if not in_pieces and not self._new:  # on a new connection the timer runs already
                    self._arm(serving.limits.header_timeout_s)
                return end
            head = read_head(raw, parser.fields)
        except Broken:
            return self._refuse(400, NO_HTTP)
        except BadHead as error:
            return self._refuse(error.status, error.sentence)
        if self._new:
            self._new = False
            self._disarm()
        size = head.size
        if size is not None and size <= SMALL and size <= len(data) - end and not parser.upgraded:
            parser.skip(data[end : end + size])
        elif size is not None or parser.upgraded:
            self._parser = Parser(chunked=size is None)
        head.peer = self._peer
        request = serving.handler.plan(head)
        if self._counted:  # a head that came in pieces: the request accounts for it from now on
            serving.budget.give(self._counted)
            self._counted = 0
        if len(raw) > SMALL:
            bodies.hold(request, len(raw), serving.budget)
        self._reply = reply = Reply(self, request, self._last or not head.keep_alive)
        return self._begin(request, reply, data, end)

    def _begin(self, request: Request, reply: Reply, data: bytes, at: int) -> int:
        """Begin a request whose head is complete, or wait for its body; returns where in `data` the request ends."""
        head, limits, budget = request.head, self._serving.limits, self._serving.budget
        size, have, coded = head.size, len(data) - at, b"content-encoding" in head.fields
        if request.error is None and (coded or (size or 0) > request.most_bytes):
            request.error = bodies.refusal(request)
        wanted = request.error is None and request.needs_body
        if size is not None and have >= size:  # the body is complete, as in most requests
            if wanted and size > SMALL:
                bodies.hold(request, size, budget)
            if wanted and request.error is None:
                request.body = data[at : at + size]
                if coded:
                    bodies.finish(request, request.body, budget)
            self._serving.handler.begin(request, reply)
            return at + size
        if size is not None:
            self._coming = bodies.KnownBody(request, size, wanted, budget)
        else:
            self._coming = bodies.ChunkedBody(request, self._parser, wanted, budget, limits.max_head_bytes)
        self._arm(limits.body_timeout_s)
        asks = not have and bodies.asks_first(head)
        if not wanted:
            reply.close = reply.close or asks  # without "100 Continue" the body may come or not
            self._serving.handler.begin(request, reply)
        elif asks:
            self.write(CONTINUE)
        return at

    def _settle(self, coming: bodies.Coming) -> None:
        """A body is complete, or cannot be used: begin its request."""
        reply = self._reply
        if coming.whole:
            self._coming = None
            self._disarm()
            self._parser = Parser()  # the old one remembers trailers, such as "connection: close"
        if coming.broken:
            self._deaf = True
            if reply is None:
                self._linger()
                return
            reply.close = True
        if coming.wanted:
            assert reply is not None
            bodies.settle(reply.request, coming, self._serving.budget)
            self._serving.handler.begin(reply.request, reply)
        elif coming.whole and reply is None:
            self._rest()

    # --- the budget ---

    def _account(self) -> None:
        """Account for the bytes that wait; if the budget has no room, the connection closes after its next answer."""
        waits = len(self._unfed) + len(self._parser.begun)
        more, budget = waits - self._counted, self._serving.budget
        try:
            if more > 0:
                budget.take(more)
            else:
                budget.give(-more)
            self._counted += more
        except HubError as error:
            if self._reply is None:
                self._refuse(429, error.detail)
            else:
                self._reply.close = True
                self._deaf = True
                self._forget()

    def _forget(self) -> None:
        self._unfed = b""
        self._parser.begun = b""
        if self._counted:
            self._serving.budget.give(self._counted)
            self._counted = 0

    # --- answers ---

    def ended(self) -> None:
        """See `Carrier`."""
        reply, self._reply = self._reply, None
        assert reply is not None
        if reply.request.held:
            reply.request.release()
        self._state.total_requests += 1
        if reply.close:
            if self._coming is not None or self._unfed or self._deaf:
                self._coming = None
                self._linger()
            else:
                self._close()
        elif self._coming is None:
            self._rest()

    def _rest(self) -> None:
        """Between two requests: begin the next one if its bytes are here, else the idle time."""
        self._due = self._loop.time() + self._serving.limits.keep_alive_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._on_time)
        if self._unfed and not self._busy:
            self._loop.call_soon(self._go_on)

    def _caught_up(self) -> None:
        reply = self._reply
        if reply is not None:
            if reply.drained is not None:
                reply.drained()
        elif self._deaf:
            self._arm(self._serving.limits.linger_s)
        elif self._coming is None:
            self._rest()
        else:
            self._arm(self._serving.limits.body_timeout_s)

    # --- ends ---

    def _late(self) -> None:
        limits, coming, reply = self._serving.limits, self._coming, self._reply
        if reply is not None:
            if coming is not None:
                reply.close = True
                if coming.wanted:
                    coming.error = bodies.too_slow(limits.body_timeout_s, coming.got)
                    self._settle(coming)
        elif self._stuck:
            pass  # `Unread` watches callers that read slowly
        elif self._parser.begun and not self._last:
            self._refuse(408, f"expected the whole head of a request within {limits.header_timeout_s:g} s")
        elif self.unsent():  # the rest of a small answer, which nobody reads
            self.abort()
        else:
            self._close()

    def _leave(self) -> None:
        reply, self._reply, self._coming = self._reply, None, None
        self._deaf = True
        self._forget()
        if reply is not None:
            reply.leave()
            reply.request.release()
            self._serving.handler.left(reply.request)
