"""Pages of other origins that may call (the Fetch standard's CORS protocol), for endpoints that do not pass Starlette."""

from __future__ import annotations

from collections.abc import Mapping

ALLOWED = (b"x-request-id", b"x-request-timeout-ms", b"content-type", b"inference-header-content-length")
SHOWN = (b"x-request-id", b"server-timing", b"x-served-by", b"retry-after", b"inference-header-content-length")
METHODS = b"GET, POST"
MAX_AGE_S = 600  # how long a browser may keep the answer to a preflight


class Cors:
    """Which origins may read answers.

    Args:
        origins: as browsers send them, or "*" for all.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._shown = b"access-control-expose-headers: %b\r\n" % b", ".join(SHOWN)

    def lines(self, fields: Mapping[bytes, bytes]) -> bytes:
        """The lines that let the page of a request read its answer; b"" where no page asks, or it may not."""
        origin = fields.get(b"origin")
        if origin is None:
            return b""
        if self._any:
            return b"access-control-allow-origin: *\r\n%b" % self._shown
        if origin in self._origins:
            return b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, self._shown)
        return b"vary: origin\r\n"

    def preflight(self, fields: Mapping[bytes, bytes]) -> tuple[int, bytes, bytes] | None:
        """Status, lines and content that answer an OPTIONS request; None where it is no preflight."""
        if b"origin" not in fields or b"access-control-request-method" not in fields:
            return None
        wanted = fields.get(b"access-control-request-headers", b"")
        names = [name.strip().lower() for name in wanted.split(b",") if name.strip()]
        allowed = self._any or fields[b"origin"] in self._origins
        method = fields[b"access-control-request-method"]
        if not allowed or method not in METHODS.split(b", ") or not set(names) <= {*ALLOWED, *SAFE}:
            return 400, b"content-type: text/plain\r\n", b"this origin, method or header is not allowed"
        lines = b"access-control-allow-methods: %b\r\naccess-control-max-age: %d\r\n" % (METHODS, MAX_AGE_S)
        lines += b"access-control-allow-headers: %b\r\n" % b", ".join(sorted({*ALLOWED, *SAFE}))
        return 200, b"content-type: text/plain\r\n" + lines, b"OK"


# Headers that a page may always set (Fetch standard, "CORS-safelisted request-header").
SAFE = (b"accept", b"accept-language", b"content-language")
