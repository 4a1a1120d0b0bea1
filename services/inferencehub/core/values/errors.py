"""One error class and one table of kinds.

A kind says whose fault it is; it has one HTTP status and one gRPC code, and only two places read those: the HTTP
border (`gateway/http_api/edge.py`) and the gRPC border (`inference/grpc_api/servicer.py`). Everything in between raises
`HubError` with a sentence that says what was expected and what came: never a stack, an address or a class name.
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """Whose fault, as (name in logs and metrics, HTTP status, name of the gRPC status code)."""

    BAD_INPUT = ("bad_input", 400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = ("unauthenticated", 401, "UNAUTHENTICATED")
    FORBIDDEN = ("forbidden", 403, "PERMISSION_DENIED")
    NOT_FOUND = ("not_found", 404, "NOT_FOUND")
    WRONG_METHOD = ("wrong_method", 405, "UNIMPLEMENTED")
    TOO_SLOW = ("too_slow", 408, "DEADLINE_EXCEEDED")
    # Never RESOURCE_EXHAUSTED: to a caller that one means "busy, try again", and a large request stays large.
    TOO_LARGE = ("too_large", 413, "INVALID_ARGUMENT")
    BUSY = ("busy", 429, "RESOURCE_EXHAUSTED")
    CALLER_LEFT = ("caller_left", 499, "CANCELLED")
    MODEL_FAILED = ("model_failed", 500, "INTERNAL")
    UNSUPPORTED = ("unsupported", 501, "UNIMPLEMENTED")
    NOT_READY = ("not_ready", 503, "UNAVAILABLE")
    DEADLINE = ("deadline", 504, "DEADLINE_EXCEEDED")

    def __init__(self, label: str, http: int, grpc: str) -> None:
        self.label = label
        self.http = http
        self.grpc = grpc


class HubError(Exception):
    """A refusal or a failure that its caller will read.

    Args:
        kind: whose fault it is.
        detail: one sentence for the caller.
        retry_after: seconds after which a second try makes sense; answered as `Retry-After` where the kind is
            `BUSY` or `NOT_READY`.
    """

    def __init__(self, kind: Kind, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after


def bad_input(detail: str) -> HubError:
    """The most common error, short to write."""
    return HubError(Kind.BAD_INPUT, detail)


def shown(value: object, limit: int = 60) -> str:
    """`value` as a caller may see it in an error: its JSON-like form, cut at `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
