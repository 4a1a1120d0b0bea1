"""One connection: reads heads, bodies and the next request, and hands each to the handler in its turn.

What comes is fed to the parser up to the end of a head, and no further while a request is not answered or its answer
waits to be read: what came behind it waits, unfed. So a request never waits as more than its bytes, and what breaks the
protocol is answered behind the good requests before it. A body whose length is known never meets the parser: what came
with the head is cut out, the rest is read from the socket straight into its place, and a new parser takes the next head.

An offer to go on with another protocol is ignored (RFC 9110 7.8).
"""

from __future__ import annotations

from typing import Any

from inferencehub.core.http1 import body as bodies
from inferencehub.core.http1.handler import Reply, Request
from inferencehub.core.http1.head import NO_HTTP, BadHead, Broken, Parser, keeps_alive, read_head
from inferencehub.core.http1.lifetime import Lifetime
from inferencehub.core.http1.limits import Serving
from inferencehub.core.http1.response import CONTINUE
from inferencehub.core.values.errors import HubError

# What all connections read into; what came is taken out before anything else is read.
BUFFER = memoryview(bytearray(2**16))
SMALL = 4096  # bytes of a head, or of a body that came with it, that need no account


class Connection(Lifetime):
    """See the module's text. uvicorn makes one for each connection, and shuts it down."""

    __slots__ = ("_busy", "_coming", "_counted", "_parser", "_unfed")

    def __init__(self, serving: Serving, server_state: Any, **_: Any) -> None:
        super().__init__(serving, server_state)
        self._parser = Parser()
        self._unfed = b""  # what came behind a request that is not answered
        self._counted = 0  # bytes of it, and of a head that comes in pieces, that the budget knows of
        self._coming: bodies.Coming | None = None  # a body that is not whole, whether it is wanted or dropped
        self._busy = False  # what came is being looked at

    # --- what came ---

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes are to be put."""
        coming = self._coming
        return BUFFER if coming is None else coming.place or BUFFER

    def buffer_updated(self, size: int) -> None:
        """They are there."""
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
        """Begin the requests that came, one after another, as far as it may go now."""
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
                self._loop.call_soon(self._go_on)  # others have their turn first
            if size - at >= limits.max_head_bytes:
                self._pause()
        if self._counted or self._unfed or self._parser.begun:
            self._account()

    def _go_on(self) -> None:
        """Look at what waits, where it need not wait any more."""
        if self._unfed and self._reply is None and not self._stuck:
            data, self._unfed = self._unfed, b""
            try:
                self._take(data)
            except Exception:
                self.abort()  # as the event loop does where what was read makes a handler fail
                raise
        if len(self._unfed) < self._serving.limits.max_head_bytes:
            self._resume()

    def _take_head(self, data: bytes, at: int) -> int:
        """Parse a head, as much of it as is there, and where it is whole begin its request; where in `data` it ends."""
        parser, limits = self._parser, self._serving.limits
        in_pieces = parser.begun
        try:
            raw, end = parser.take_head(data, at)
        except Broken:
            return self._refuse(400, NO_HTTP)
        if len(raw or parser.begun) > limits.max_head_bytes:
            return self._refuse(431, limits.too_much_head)
        if not raw:
            if not in_pieces and not self._new:  # for a new connection, the time is running
                self._arm(limits.header_timeout_s)
            return end
        try:
            head = read_head(raw, parser.method(), b"".join(parser.urls), parser.fields)
        except BadHead as error:
            return self._refuse(error.status, error.sentence)
        if self._new:
            self._new = False
            self._disarm()
        if head.size == 0 and not parser.upgraded:
            parser.next()
        elif head.size is not None or parser.upgraded:
            self._parser = Parser(chunked=head.size is None)
        request = self._serving.handler.plan(head)
        if self._counted:  # the head, in pieces: it is the request's from now on
            self._serving.budget.give(self._counted)
            self._counted = 0
        if len(raw) > SMALL:
            bodies.hold(request, len(raw), self._serving.budget)
        self._reply = Reply(self, request, self._last or not keeps_alive(head))
        return self._begin(request, self._reply, data, end)

    def _begin(self, request: Request, reply: Reply, data: bytes, at: int) -> int:
        """Begin a request whose head is complete, or wait for its body; where in `data` that ends."""
        head, limits, budget = request.head, self._serving.limits, self._serving.budget
        size, have, coded = head.size, len(data) - at, b"content-encoding" in head.fields
        if request.error is None and (coded or (size or 0) > request.most_bytes):
            request.error = bodies.refusal(request)
        wanted = request.error is None and request.needs_body
        if size is not None and have >= size:  # it is whole, as most are
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
            reply.close = reply.close or asks  # a body that was asked for in vain may come, or not
            self._serving.handler.begin(request, reply)
        elif asks:
            self.write(CONTINUE)
        return at

    def _settle(self, coming: bodies.Coming) -> None:
        """A body is whole, or it cannot be had."""
        reply = self._reply
        if coming.whole:
            self._coming = None
            self._parser = Parser()  # the one before remembers trailers, as "connection: close"
        if coming.broken:
            self._deaf = True
            if reply is None:
                self._linger()
                return
            reply.close = True
        if coming.wanted:
            assert reply is not None
            request = reply.request
            if coming.error is None:
                bodies.finish(request, coming.content(), self._serving.budget)
            else:
                request.error = coming.error
                request.release()
            coming.drop()
            self._serving.handler.begin(request, reply)
        elif coming.whole and reply is None:
            self._rest()

    # --- what the process may hold ---

    def _account(self) -> None:
        """Have the budget know of what waits; where it has no room for that, the connection ends behind its answer."""
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
        """An answer has ended."""
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
        """Between two requests: the next one may begin, or an idle time does."""
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
            pass  # as long as the caller reads
        elif self._parser.begun and not self._last:
            self._refuse(408, f"expected the whole head of a request within {limits.header_timeout_s:g} s")
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
