"""Connections that send too slowly or too much head are closed: uvicorn by itself waits for ever.

A request's head must be there within `header_timeout_s` and in 64 KiB, its body within `body_timeout_s`. A whole
request almost always comes in one piece, so that a timer is only armed for one that did not.

A call of a model whose head came in one piece is given to `direct.py`, once its body is whole (`gathered.py` where it
comes in pieces); uvicorn's way through ASGI is for all others, and for those that `direct.py` does not take.

Of a request whose head is known (`heads.py`) only the body is looked at; all others go through the parser.

A client that offers to go on with HTTP/2 (curl --http2, Java's default) has its offer ignored, as RFC 9110 7.8 allows.
The parser would take all behind such a head, the body too, for the other protocol; so it gets to see the head a second
time, without the offer.

What is refused here never becomes a request: it has its sentence, but no id, no access line and no count.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from inferencehub.gateway.http_api.body import too_slow
from inferencehub.gateway.http_api.direct import Call, Endpoint, ShortWay
from inferencehub.gateway.http_api.edge import Exchange
from inferencehub.gateway.http_api.gathered import GatheredBody
from inferencehub.gateway.http_api.heads import END, Head, KnownHeads
from inferencehub.gateway.http_api.reading import Reading
from inferencehub.gateway.json_codec.answer_json import encode

MAX_HEAD_BYTES = 64 * 1024
HEAD_TOO_LARGE = (431, f"expected a request head of at most {MAX_HEAD_BYTES} bytes, got a larger one")
NEW_S = 0.5  # how long a process that ends waits for the first request of a connection
SLACK_S = 2.0  # the endpoint's own limit on a body, which can answer with a sentence, comes first


def connection_class(
    header_timeout_s: float, body_timeout_s: float, short_way: ShortWay
) -> type[HttpToolsProtocol]:
    """The connection class for these limits."""

    class Limited(Connection):
        pass

    Limited.header_timeout_s, Limited.body_timeout_s = header_timeout_s, body_timeout_s
    Limited.short_way, Limited.heads = short_way, KnownHeads()
    return Limited


class Connection(HttpToolsProtocol):
    """One connection; see the module's text."""

    header_timeout_s: float
    body_timeout_s: float
    short_way: ShortWay
    heads: KnownHeads
    cycle: Any  # uvicorn's, or a `Call`

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._is_new = True
        self._in_head = True
        self._in_body = False
        self._limit: asyncio.TimerHandle | None = None
        self._endpoint: Endpoint | None = None  # of a request for the short way, while its body is parsed
        self.fields: dict[bytes, bytes] = {}  # the headers of a POST; of equal ones the last
        self._pieces: list[bytes] = []
        self._fed = b""  # what the parser was given, where that began with a request
        self._opened: Exchange | None = None  # of a request that the short way did not take after all
        self._idle_since = 0.0
        self._call: Call | None = None  # what runs on the short way
        self._reading = Reading(self)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_protocol(self._reading)
        self._arm(self.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._unset_keepalive_if_required()
        if self._call is not None:
            self._call.leave()
            self._call = self.cycle = None
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """As uvicorn's, but with one timer for all the idle times of a connection, not one for each."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = monotonic()
        if self.timeout_keep_alive_task is None:
            self._keep_alive(self.timeout_keep_alive)

    def _keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._busy() or self._head_bytes:
            return  # the answer arms it anew
        left = self._idle_since + self.timeout_keep_alive - monotonic()
        if left > 0:
            self._keep_alive(left)
        else:
            self.transport.close()

    def shutdown(self) -> None:
        if self._call is not None:
            self._call.keep_alive = False
        elif self._is_new:  # its first request is on its way, and would be lost
            self._arm(NEW_S)
        else:
            super().shutdown()

    def cut_off(self) -> None:
        """The process ends; whoever still waits on the short way is told so."""
        if self._call is not None:
            self._call.cut_off()

    def data_received(self, data: bytes) -> None:
        if self._at_beginning() and not self._busy() and not self.flow.write_paused:
            known = self.heads.find(data)
            if known is not None:
                self._take_known(*known, data)
                return
            self._fed = data
        was_in_body = self._in_body
        if not was_in_body:
            self._head_bytes += len(data)
        self._feed(data)
        fed, self._fed = self._fed, b""
        if self._endpoint is not None:
            if self._gather_parsed(fed):
                return
            self._take_long_way()
        if self._in_body:
            if not was_in_body:
                self._arm(self.body_timeout_s + SLACK_S)
        elif not self._in_head:
            self._disarm()
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(*HEAD_TOO_LARGE)
        elif self._limit is None:
            self._arm(self.header_timeout_s)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = True

    def on_headers_complete(self) -> None:
        received, self._head_bytes = self._head_bytes, 0
        self._is_new = False
        self._in_head, self._in_body = False, True
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise ValueError  # the parser stops, and it comes out in send_400_response
        if self.parser.should_upgrade():
            return
        if received > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
            self._refuse(*HEAD_TOO_LARGE)
            raise ValueError
        if method == b"POST" and not self._busy() and not self.flow.write_paused:
            self.fields = dict(self.headers)
            if self._opened is None:
                self._endpoint = self.short_way.endpoint(self.url, self.fields)
        if self._endpoint is None:
            exchange, self._opened = self._opened, None
            self._begin_cycle(exchange)

    def on_body(self, body: bytes) -> None:
        if self._endpoint is not None:
            self._pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_body = False
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is None:
            super().on_message_complete()
            return
        body = b"".join(self._pieces)
        self._pieces.clear()
        head, keep_alive = (
            Head(self.url.decode("ascii"), self.fields, endpoint, len(body)),
            self.keeps_alive(),
        )
        if self._fed and keep_alive and len(body) <= self.short_way.most_bytes:
            self.heads.learn(self._fed[: len(self._fed) - len(body)], head)
        exchange = self._begin_call(head, keep_alive, body)
        if exchange is not None:
            self._begin_cycle(exchange)
            super().on_body(body)
            super().on_message_complete()

    def _open_call(self, head: Head, keep_alive: bool) -> Call:
        """A call on the short way, whose body is still to come."""
        call = Call(self, self.short_way.border, head.endpoint, head.path, head.fields, keep_alive)
        self._call = self.cycle = call
        return call

    def _begin_call(self, head: Head, keep_alive: bool, body: bytes) -> Exchange | None:
        """Begin on the short way; the exchange where the long one is to be taken after all."""
        call = self._open_call(head, keep_alive)
        if call.begin(body):
            return None
        self._call = self.cycle = None
        return call.exchange

    def _take_known(self, head: Head, end: int, data: bytes) -> None:
        """A request whose head is known, and ends at `end`; its body may still be coming."""
        self._is_new = False
        if self._limit is not None:
            self._disarm()
        if len(data) < end + head.size:
            self._gather(head, True, data, end)
            return
        exchange = self._begin_call(head, True, data[end:])
        if exchange is not None:
            self._parse(exchange, data)

    def _parse(self, exchange: Exchange, data: bytes) -> None:
        """A request that the parser has not seen takes the long way after all."""
        self._opened = exchange
        self._feed(data)
        if self._in_body:
            self._arm(self.body_timeout_s + SLACK_S)

    def _at_beginning(self) -> bool:
        """Whether nothing of the next request has come."""
        if self._in_head:
            return self._is_new and not self._head_bytes
        return not self._in_body

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def keeps_alive(self) -> bool:
        """Whether the caller wants to send more after the request whose head is there."""
        if self.parser.should_keep_alive():
            return b"connection" not in self.fields or self.parser.get_http_version() != "1.0"
        return False

    def answered(self) -> None:
        """The answer of the short way is written."""
        if self.cycle is self._call:
            self.cycle = None
        self._call = None
        self.on_response_complete()

    def _gather_parsed(self, data: bytes) -> bool:
        """As `_gather`, of a request whose head was parsed; False where it did not come in one piece, or tells no size."""
        told = self.fields.get(b"content-length")
        end = len(data) - sum(map(len, self._pieces))
        if data.find(END) + 4 != end:  # it came behind something else, or in pieces itself
            return False
        if told is None or (size := int(told)) > self.short_way.most_bytes:
            return False
        endpoint, self._endpoint = self._endpoint, None
        assert endpoint is not None
        self._pieces.clear()
        head, keep_alive = Head(self.url.decode("ascii"), self.fields, endpoint, size), self.keeps_alive()
        if keep_alive:
            self.heads.learn(data[:end], head)
        self.parser = httptools.HttpRequestParser(self)  # the one before waits for the body
        self._in_body = False
        self._gather(head, keep_alive, data, end)
        return True

    def _gather(self, head: Head, keep_alive: bool, data: bytes, end: int) -> None:
        """Read the rest of a body, whose head ends at `end`, straight into its place."""
        self._arm(self.body_timeout_s)
        body = GatheredBody(self, self._open_call(head, keep_alive), data, end, head.size)
        self._reading.body = body
        body.read(0)

    def gathered(self, head: bytes, body: memoryview, whole: bool) -> None:
        """A body has come, or as much as the process may hold: then the long way says so, and reads on."""
        self._disarm()
        self._reading.body, call = None, self._call
        assert call is not None
        if whole and call.begin(body):
            return
        call.exchange.release()
        self._call = self.cycle = None
        self._parse(call.exchange, b"".join([head, body]))

    def _take_long_way(self) -> None:
        """A request for the short way did not come whole."""
        self._endpoint = None
        pieces, self._pieces = self._pieces, []
        if not self.transport.is_closing():
            self._begin_cycle()
            for piece in pieces:
                super().on_body(piece)

    def _begin_cycle(self, exchange: Exchange | None = None) -> None:
        """What uvicorn does at the begin and at the end of a head, which here is known to be for it only now."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        if exchange is not None:
            self.scope["exchange"] = exchange  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                self.send_400_response("")
                return

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "expected an HTTP/1.1 request, got something that is none")

    def _head_size(self) -> int:
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._limit = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _too_slow(self) -> None:
        coming = self._reading.body
        if coming is not None:
            coming.call.refuse(too_slow(self.body_timeout_s, coming.filled))
        elif self._in_head and self._head_bytes:
            self._refuse(408, f"expected the whole head of a request within {self.header_timeout_s:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        if self.transport.is_closing():
            return
        # While an earlier request of this connection runs, an answer would be taken for that one's.
        last: Any = self.cycle
        if not self.pipeline and (last is None or last.response_complete or last.more_body):
            body = encode({"error": sentence})
            self.transport.write(
                STATUS_LINE[status] + b"content-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
        self.transport.close()
