"""Connections that send too slowly or too much head are closed: uvicorn by itself waits for ever.

A request's head must be there within `header_timeout_s` and in 64 KiB, its body within `body_timeout_s`. A whole
request almost always comes in one piece, so that a timer is only armed for one that did not.

A client that offers to go on with HTTP/2 (curl --http2, Java's default) has its offer ignored, as RFC 9110 7.8 allows.
The parser would take all behind such a head, the body too, for the other protocol; so it gets to see the head a second
time, without the offer.

What is refused here never becomes a request: it has its sentence, but no id, no access line and no count.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from inferencehub.gateway.codec import encode

MAX_HEAD_BYTES = 64 * 1024
HEAD_TOO_LARGE = (431, f"expected a request head of at most {MAX_HEAD_BYTES} bytes, got a larger one")
SLACK_S = 2.0  # the endpoint's own limit on a body, which can answer with a sentence, comes first


def connection_class(header_timeout_s: float, body_timeout_s: float) -> type[HttpToolsProtocol]:
    """The connection class for these limits."""

    class Connection(HttpToolsProtocol):
        """One connection."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._head_bytes = 0
            self._in_head = True
            self._in_body = False
            self._limit: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._arm(header_timeout_s)

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            was_in_body = self._in_body
            if not was_in_body:
                self._head_bytes += len(data)
            self._unset_keepalive_if_required()
            self._feed(data)
            if self._in_body:
                if not was_in_body:
                    self._arm(body_timeout_s + SLACK_S)
            elif not self._in_head:
                self._disarm()
            elif self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(*HEAD_TOO_LARGE)
            elif self._limit is None:
                self._arm(header_timeout_s)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head = True

        def on_headers_complete(self) -> None:
            received, self._head_bytes = self._head_bytes, 0
            self._in_head, self._in_body = False, True
            if self.parser.get_method() == b"CONNECT":
                raise ValueError  # the parser stops, and it comes out in send_400_response
            if self.parser.should_upgrade():
                return
            if received > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
                self._refuse(*HEAD_TOO_LARGE)
                raise ValueError
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            if self.parser.should_upgrade():
                return
            self._in_body = False
            super().on_message_complete()

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
            if self._in_head and self._head_bytes:
                self._refuse(408, f"expected the whole head of a request within {header_timeout_s:g} s")
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

    return Connection
