"""Sends requests to a collector over OTLP/HTTP: one connection, in the exporter's thread.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import SHUT_RDWR, socket
from threading import Event, Timer
from typing import NamedTuple
from urllib.parse import urlsplit

RETRIED = (429, 502, 503, 504)  # "Retryable Response Codes"
MOST_ANSWER = 2**16  # bytes of an answer that are read
HEADERS = {"content-type": "application/x-protobuf", "user-agent": "inferencehub"}


class Answer(NamedTuple):
    """What came of an attempt.

    Args:
        sent: whether the collector has taken it.
        again: whether it may be tried again.
        after_s: seconds that the collector wants to be left alone.
        why: what went wrong; "" for nothing.
        body: what it answered, as bytes of an ExportTraceServiceResponse.
    """

    sent: bool
    again: bool
    after_s: float
    why: str
    body: bytes = b""


class Post:
    """See the module's text.

    Args:
        url: where to.
        headers: that the collector wants.
        timeout_s: that a request may take, to the end of its answer.
        authorities: file with those that sign its certificate; "" for those of the system.
        compress: whether requests are compressed.

    Raises:
        OSError: if the file of authorities can't be read.
        ssl.SSLError: if it has none.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], timeout_s: float, authorities: str, compress: bool
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        self._compress = compress
        more = {"content-encoding": "gzip"} if compress else {}
        self._headers = {**HEADERS, **more, **headers}
        secure = parts.scheme == "https"
        self._context = ssl.create_default_context(cafile=authorities or None) if secure else None
        self._connection: HTTPConnection | None = None

    def __call__(self, body: bytes, within_s: float) -> Answer:
        """Send a request. All of it may take `within_s` seconds and the time-out, whichever is less."""
        timeout_s = min(self._timeout_s, max(0.001, within_s))
        kept = self._connection is not None
        late = Event()
        # A collector that sends a byte now and then would meet any time-out of a single read.
        end = Timer(timeout_s, self._cut_off, (late,))
        end.daemon = True
        end.start()
        try:
            return self._send(gzip.compress(body, 1) if self._compress else body, timeout_s, late)
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            if late.is_set() or isinstance(error, TimeoutError):
                return Answer(False, True, 0.0, f"it did not answer within {timeout_s:.3g} s")
            # A collector may close a connection that it finds idle; the next attempt has a new one at once.
            return Answer(False, True, 0.0, told(error) if not kept else "")
        finally:
            end.cancel()

    def _cut_off(self, late: Event) -> None:
        """The time is over: end what waits for the collector. This is in a thread of its own."""
        late.set()
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with suppress(OSError):
                socket.shutdown(sock, SHUT_RDWR)  # that of TLS would make it a plain socket first

    def _connect(self, timeout_s: float, late: Event) -> HTTPConnection:
        """A new connection. Each step of its handshake can be cut off, and the wait for each address has an end."""
        context = self._context
        if context is None:
            self._connection = connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
        else:
            self._connection = connection = HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=context
            )
        HTTPConnection.connect(connection)
        if context is not None:
            connection.sock = shaking = context.wrap_socket(
                connection.sock, server_hostname=self._host, do_handshake_on_connect=False
            )
            shaking.do_handshake()
        if late.is_set():  # there may have been no socket to cut off
            raise TimeoutError
        return connection

    def _send(self, body: bytes, timeout_s: float, late: Event) -> Answer:
        connection = self._connection
        if connection is None:
            connection = self._connect(timeout_s, late)
        elif connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._target, body, self._headers)
        answer = connection.getresponse()
        content = answer.read(MOST_ANSWER)
        if late.is_set():  # an answer that is cut off looks like a short one
            raise TimeoutError
        if not answer.isclosed() or answer.will_close:  # there is more of it than anybody wants
            self.close()
        if 200 <= answer.status < 300:
            return Answer(True, False, 0.0, "", content)
        after = answer.getheader("retry-after") or ""
        after_s = float(after) if after.isascii() and after.isdecimal() and len(after) < 5 else 0.0
        return Answer(False, answer.status in RETRIED, after_s, f"it answered {answer.status}")

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def told(error: Exception) -> str:
    """What went wrong, for a log line. A plain ValueError of http.client shows a header, which may be a secret."""
    if not isinstance(error, (OSError, HTTPException)):
        return type(error).__name__
    return f"{type(error).__name__}: {error}"[:200]
