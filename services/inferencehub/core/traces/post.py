"""Sends requests to a collector over OTLP/HTTP: one connection, in the exporter's thread.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
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
        timeout_s: that each of its steps may take.
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
        """Send a request, and wait at most `within_s` seconds for each step of the answer."""
        timeout_s = min(self._timeout_s, max(0.001, within_s))
        kept = self._connection is not None
        try:
            return self._send(gzip.compress(body, 1) if self._compress else body, timeout_s)
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            # A collector may close a connection that it finds idle; the next attempt has a new one at once.
            return Answer(False, True, 0.0, told(error) if not kept else "")

    def _send(self, body: bytes, timeout_s: float) -> Answer:
        connection = self._connection
        if connection is None:
            if self._context is None:
                connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
            else:
                connection = HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context)
            connection.connect()
            self._connection = connection
        elif connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._target, body, self._headers)
        answer = connection.getresponse()
        content = answer.read(MOST_ANSWER)
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
