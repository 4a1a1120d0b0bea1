"""One connection: reads heads, bodies and the next request, and hands each to the handler in its turn.

What comes is fed to the parser up to the end of a head, and no further while a request is not answered or its answer
waits to be read: what came behind it waits, unfed. So a request never waits as more than its bytes, and what breaks the
protocol is answered behind the good requests before it. A body whose length is known never meets the parser: what came
with the head is cut out, the rest is read from the socket straight into its place, and a new parser takes the next head.

There is one timer. It is armed where something is missing, and finds out what when it fires.

An offer to go on with another protocol is ignored (RFC 9110 7.8).
"""

from __future__ import annotations

import asyncio
from typing import Any

from inferencehub.core.http1.body import ChunkedBody, Coming, KnownBody, finish, refusal, too_slow
from inferencehub.core.http1.handler import Request
from inferencehub.core.http1.parser import END, Broken, Parser, Upgrade, end_of
from inferencehub.core.http1.response import CONTINUE, Reply, refused
from inferencehub.core.http1.rules import NO_HTTP, Refused, keeps_alive, read_head
from inferencehub.core.http1.serving import Serving
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import Buffer

# Of all connections: what is read into it is taken out before anything else is read.
BUFFER = memoryview(bytearray(2**16))
SMALL = 4096  # bytes of a head, or of a body that came with it, that need no account


class Connection(asyncio.BufferedProtocol):
    """See the module's text. uvicorn makes one for each connection, and its server counts and shuts them down.

    Args:
        serving: what the connections of a server share.
        server_state: uvicorn's.
    """

    __slots__ = (
        "_begun",
        "_busy",
        "_coming",
        "_counted",
        "_deaf",
        "_due",
        "_last",
        "_loop",
        "_new",
        "_parser",
        "_paused",
        "_reply",
        "_serving",
        "_state",
        "_stuck",
        "_timer",
        "_transport",
        "_unfed",
    )

    def __init__(self, serving: Serving, server_state: Any, **_: Any) -> None:
        self._serving = serving
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._parser = Parser()
        self._begun = bytearray()  # of a head that comes in pieces: what the parser has seen
        self._unfed = b""  # what came behind a request that is not answered
        self._counted = 0  # bytes of both that the budget knows of
        self._reply: Reply | None = None  # to the request that is not answered
        self._coming: Coming | None = None  # a body that has not come whole, whether it is wanted or not
        self._new = True  # no head has come
        self._last = False  # the next answer is the last one
        self._busy = False  # what came is being looked at
        self._stuck = False  # an answer is not read
        self._paused = False  # nothing is read
        self._deaf = False  # what comes is dropped
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    # --- what the transport calls ---

    def connection_made(self, transport: Any) -> None:
        """Begin, unless there are too many."""
        self._transport = transport
        connections, limits = self._state.connections, self._serving.limits
        if len(connections) >= limits.max_connections:
            self._deaf = True
            transport.close()
            return
        connections.add(self)
        transport.set_write_buffer_limits(high=0)  # so that whatever is not sent at once is noticed
        self._arm(limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever has ended it."""
        self._state.connections.discard(self)
        self._leave()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._serving.unread.remove(self)
        self._transport = None

    def eof_received(self) -> None:
        """The caller has hung up; the transport closes itself."""
        self._leave()

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
            return
        if self._deaf:
            return
        data = bytes(BUFFER[:size])
        if self._unfed:
            data, self._unfed = self._unfed + data, b""
        self._take(data)

    def pause_writing(self) -> None:
        """Something is not sent."""
        self._stuck = True
        self._serving.unread.add(self)

    def resume_writing(self) -> None:
        """All is sent."""
        self._stuck = False
        self._serving.unread.remove(self)
        reply = self._reply
        if reply is None:
            self._rest()
        elif reply.drained is not None:
            reply.drained()

    # --- what came ---

    def _take(self, data: bytes) -> None:
        """Begin the requests that came, one after another, as far as it may go now."""
        at, size, turn = 0, len(data), 0
        self._busy = True
        while at < size and not self._deaf:
            if self._coming is not None:
                at = self._take_body(self._coming, data, at)
            elif self._reply is not None or self._stuck or turn == self._serving.limits.max_turn:
                break
            else:
                turn += 1
                at = self._take_head(data, at)
        self._busy = False
        if at < size and not self._deaf:
            self._unfed = data[at:]
            if self._reply is None and not self._stuck:
                self._loop.call_soon(self._go_on)  # others have their turn first
            elif size - at >= self._serving.limits.max_head_bytes and not self._paused:
                self._paused = True
                self._transport.pause_reading()
        if self._counted or self._unfed or self._begun:
            self._account()

    def _go_on(self) -> None:
        """Look at what waits, where it need not wait any more."""
        if self._unfed and self._reply is None and not self._stuck and not self._deaf:
            data, self._unfed = self._unfed, b""
            self._take(data)
        if self._paused and len(self._unfed) < self._serving.limits.max_head_bytes and self._transport:
            self._paused = False
            self._transport.resume_reading()

    def _take_head(self, data: bytes, at: int) -> int:
        """Parse a head, as much of it as has come, and plan its request; where in `data` it ends."""
        parser, begun, limits, upgraded = self._parser, self._begun, self._serving.limits, False
        if begun:
            end = end_of(begun, data, at)
        else:
            end = data.find(END, at) + 4
            if end == 3:
                end = 0
        raw = data[at : end or len(data)]
        try:
            parser.feed(raw)
        except Upgrade:
            upgraded = True
        except Broken:
            return self._refuse(400, NO_HTTP)
        if begun or not end or not parser.urls:
            begun += raw
            if len(begun) > limits.max_head_bytes:
                return self._refuse(
                    431, f"expected a request head of at most {limits.max_head_bytes} bytes, got a larger one"
                )
            if not end or not parser.urls:  # empty lines, or a head's begin
                if len(begun) == len(raw) and not self._new:
                    self._arm(limits.header_timeout_s)
                return end or len(data)
            raw = bytes(begun)
            begun.clear()
        elif end - at > limits.max_head_bytes:
            return self._refuse(
                431, f"expected a request head of at most {limits.max_head_bytes} bytes, got a larger one"
            )
        if raw[0] == 13:
            raw = raw.lstrip(b"\r\n")
        try:
            head = read_head(raw, parser.method(), b"".join(parser.urls), parser.fields)
        except Refused as error:
            return self._refuse(error.status, error.sentence)
        self._new = False
        request = self._serving.handler.plan(head)
        close = self._last or not keeps_alive(head)
        reply = self._reply = Reply(self, request, close)
        if len(raw) > SMALL:
            self._hold(request, len(raw))
        if head.size == 0 and not upgraded:
            parser.next()
        else:
            parser = self._parser = Parser(chunked=head.size is None)
        size, budget = head.size, self._serving.budget
        if request.error is None and (size != 0 or b"content-encoding" in head.fields):
            request.error = refusal(request)
        wanted = request.error is None and request.needs_body
        if size is not None and len(data) - end >= size:  # it is whole, as most are
            if wanted and size > SMALL:
                self._hold(request, size)
            if wanted and request.error is None:
                finish(request, data[end : end + size], budget)
            self._serving.handler.begin(request, reply)
            return end + size
        self._await_body(request, reply, wanted, len(data) > end)
        return end

    def _await_body(self, request: Request, reply: Reply, wanted: bool, begun: bool) -> None:
        """A body is not whole yet; where it is not wanted, the request begins without it."""
        head, limits, budget = request.head, self._serving.limits, self._serving.budget
        expects = head.version == "1.1" and head.fields.get(b"expect", b"").lower() == b"100-continue"
        if head.size is not None:
            self._coming = KnownBody(request, head.size, wanted, budget)
        else:
            self._coming = ChunkedBody(request, self._parser, wanted, budget, limits.max_head_bytes)
        self._arm(limits.body_timeout_s)
        if not wanted:
            if expects and not begun:
                reply.close = True  # nobody knows whether the body will be sent
            self._serving.handler.begin(request, reply)
        elif expects and not begun:
            self.write(CONTINUE)

    def _take_body(self, coming: Coming, data: bytes, at: int) -> int:
        at = coming.take(data, at)
        if coming.error is not None or coming.whole:
            self._settle(coming)
        return at

    def _settle(self, coming: Coming) -> None:
        """A body is whole, or cannot be had."""
        reply, wanted = self._reply, coming.wanted
        if coming.whole:
            self._coming = None
            if type(coming) is ChunkedBody:
                self._parser.next()
        elif type(coming) is ChunkedBody and coming.broken:
            self._deaf = True
            if reply is None:
                self._close()
                return
            reply.close = True
        if wanted:
            assert reply is not None
            request = reply.request
            if coming.error is None:
                finish(request, coming.content(), self._serving.budget)
            else:
                request.error = coming.error
                request.release()
            coming.drop()
            self._serving.handler.begin(request, reply)
        elif coming.whole and reply is None:
            self._rest()

    def _hold(self, request: Request, size: int) -> None:
        try:
            request.hold(self._serving.budget, size)
        except HubError as error:
            request.error = request.error or error

    def _account(self) -> None:
        """Have the budget know of what waits; where it has no room for that, the connection ends behind its answer."""
        waits = len(self._unfed) + len(self._begun)
        more, budget, self._counted = waits - self._counted, self._serving.budget, waits
        if more <= 0:
            budget.give(-more)
            return
        try:
            budget.take(more)
        except HubError as error:
            self._counted -= more
            if self._reply is None:
                self._refuse(429, error.detail)
            else:
                self._reply.close = True
                self._drop()

    # --- answers ---

    def date(self) -> bytes:
        """The head lines that every answer has."""
        return self._serving.lines(self._state.default_headers)

    def write(self, data: Buffer) -> bool:
        """Send; False where the caller reads too slowly for all of it."""
        if self._stuck:
            self._serving.unread.look(self)
        self._transport.write(data)
        if self._stuck:
            self._serving.unread.look(self)
        return not self._stuck

    def ended(self) -> None:
        """An answer has ended."""
        reply, self._reply = self._reply, None
        assert reply is not None
        if reply.request.held:
            reply.request.release()
        self._state.total_requests += 1
        if reply.close:
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

    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def abort(self) -> None:
        """Break the connection off."""
        if self._transport is not None:
            self._drop()
            self._transport.abort()

    # --- time and ends ---

    def _arm(self, seconds: float) -> None:
        """Look in so many seconds, not before and not later."""
        self._due = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._on_time)

    def _on_time(self) -> None:
        """It is late, unless `_due` was moved meanwhile."""
        self._timer = None
        if self._loop.time() < self._due - 0.001:
            self._timer = self._loop.call_at(self._due, self._on_time)
            return
        limits, coming, reply = self._serving.limits, self._coming, self._reply
        if reply is not None:
            if coming is None:
                return  # the answer arms it
            reply.close = True
            if coming.wanted:
                coming.error = too_slow(limits.body_timeout_s, coming.got)
                self._settle(coming)
        elif self._stuck:
            return  # the tick for unread answers ends this, or `resume_writing` goes on
        elif self._begun and not self._deaf and not self._last:
            self._refuse(408, f"expected the whole head of a request within {limits.header_timeout_s:g} s")
        else:
            self._transport.close()

    def _refuse(self, status: int, sentence: str) -> int:
        """Answer what never becomes a request; no request runs. Nothing more is read."""
        self.write(refused(status, sentence, self.date()))
        self._linger()
        return 0

    def _close(self) -> None:
        """The last answer is given. Where more is coming, the caller would lose the answer if nobody read on."""
        if self._coming is not None or self._unfed or self._deaf:
            self._linger()
        else:
            self._drop()
            self._transport.close()

    def _linger(self) -> None:
        """Send nothing more, and drop what comes for a moment."""
        self._drop()
        self._coming = None
        self._transport.write_eof()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._arm(self._serving.limits.linger_s)

    def _drop(self) -> None:
        """Take in nothing more, and forget what waits."""
        self._deaf = True
        self._unfed = b""
        self._begun.clear()
        if self._counted and not self._busy:
            self._account()

    def _leave(self) -> None:
        """The caller has gone."""
        reply, self._reply, self._coming = self._reply, None, None
        self._drop()
        if reply is not None:
            reply.leave()
            reply.request.release()
            self._serving.handler.left(reply.request)

    def shutdown(self) -> None:
        """The server ends: close with the next answer, or at once where none is wanted."""
        self._last = True
        if self._reply is not None:
            self._reply.close = True
        elif self._new and not self._deaf:  # its first request is on its way, and would be lost
            self._arm(self._serving.limits.new_s)
        else:
            self._transport.close()

    def cut_off(self) -> None:
        """The process ends, and has waited long enough."""
        reply = self._reply
        if reply is None:
            self._transport.close()
            return
        reply.close = True
        self._serving.handler.cut_off(reply.request, reply)
        if self._reply is reply:
            self.abort()
