"""CORS (Fetch standard): which pages of other origins may call the gateway and read its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.http_api.call import HttpCall
from inferencehub.gateway.http_api.response import Content
from inferencehub.gateway.json_codec.answer_json import error_json

# Headers that a page may set beside the safe ones. OpenAI's clients send the keys of their account, their name, and
# STAINLESS about themselves. They are answered by name, because * does not stand for `authorization` (Fetch standard).
ALLOWED = (
    b"x-request-id",
    b"x-request-timeout-ms",
    b"content-type",
    b"content-encoding",
    b"inference-header-content-length",
    b"authorization",
    b"x-api-key",
    b"openai-organization",
    b"openai-project",
    b"user-agent",
    b"prefer",
    b"idempotency-key",
    b"x-job-priority",
    b"x-job-ttl-s",
    b"x-job-not-before",
    b"x-webhook-url",
    b"last-event-id",
    b"traceparent",
    b"tracestate",
    b"baggage",
)
STAINLESS = re.compile(rb"x-stainless-[a-z0-9-]+")
SHOWN = (
    b"x-request-id",
    b"server-timing",
    b"x-served-by",
    b"x-model-version",
    b"retry-after",
    b"ratelimit",
    b"ratelimit-policy",
    b"www-authenticate",
    b"x-should-retry",
    b"inference-header-content-length",
    b"location",
    b"preference-applied",
    b"hub-durability",
)
TEXT = b"content-type: text/plain\r\n"
METHODS = b"GET, POST, DELETE"
MAX_AGE_S = 600  # how long a browser may keep the answer to a preflight


class Preflight:
    """The endpoint of a preflight request, with which a browser asks whether a page may call."""

    method = "OPTIONS"

    def __init__(self, status: int, lines: bytes, content: bytes) -> None:
        self._status = status
        self._content = lines, (content,)

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        call.send(self._status, *self._content)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`; the same for every answer, because a preflight asks no model."""
        return self._content

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return error_json(error)


class Cors:
    """Which origins may read answers.

    Args:
        origins: as browsers send them, or "*" for all.
        credentials: whether their pages may call with cookies and client certificates of the browser; not with "*".
            A key that a page sends itself, as a header, is none of these.
        headers: names of further headers that pages may send.
    """

    def __init__(
        self, origins: tuple[str, ...], credentials: bool = False, headers: tuple[str, ...] = ()
    ) -> None:
        self._allowed = {*ALLOWED, *SAFE, *[name.encode() for name in headers]}
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        shown = b"access-control-expose-headers: %b\r\n" % b", ".join(SHOWN)
        self._shown = b"access-control-allow-credentials: true\r\n" + shown if credentials else shown

    def lines(self, fields: Mapping[bytes, bytes]) -> bytes:
        """Header lines that let the calling page read the answer.

        Answers to other callers have `Vary` too, so that a cache does not give them to a page (Fetch, "CORS and caches").
        """
        origin = fields.get(b"origin")
        if self._any:
            return b"" if origin is None else b"access-control-allow-origin: *\r\n%b" % self._shown
        if origin in self._origins:
            return b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, self._shown)
        return b"vary: origin\r\n"

    def preflight(self, fields: Mapping[bytes, bytes]) -> Preflight | None:
        """The endpoint for an OPTIONS request; None if it is not a preflight."""
        if b"origin" not in fields or b"access-control-request-method" not in fields:
            return None
        wanted = fields.get(b"access-control-request-headers", b"")
        names = {name.strip().lower() for name in wanted.split(b",") if name.strip()}
        stainless = {name for name in names if STAINLESS.fullmatch(name)}
        allowed = self._any or fields[b"origin"] in self._origins
        method = fields[b"access-control-request-method"]
        if not allowed or method not in METHODS.split(b", ") or not names <= self._allowed | stainless:
            return Preflight(400, TEXT, b"this origin, method or header is not allowed")
        lines = b"access-control-allow-methods: %b\r\naccess-control-max-age: %d\r\n" % (METHODS, MAX_AGE_S)
        lines += b"access-control-allow-headers: %b\r\n" % b", ".join(sorted(self._allowed | stainless))
        return Preflight(200, TEXT + lines, b"OK")


# Headers that a page may always set (Fetch standard, "CORS-safelisted request-header").
SAFE = (b"accept", b"accept-language", b"content-language")
