"""One error class and one table of kinds.

A kind says whose fault an error is. Each kind has one HTTP status and one gRPC status code. Only two edges use them:
the HTTP edge (`gateway/http_api/edge.py`) and the gRPC edge (`core/grpc_server/unary.py`). All other code raises
`HubError` with a sentence that says what was expected and what came. The sentence never contains a stack trace, an
address or a class name.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

MOST_NAMES = 20  # names that a sentence lists


class Kind(Enum):
    """Whose fault an error is: (name in logs and metrics, HTTP status, name of the gRPC status code)."""

    BAD_INPUT = ("bad_input", 400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = ("unauthenticated", 401, "UNAUTHENTICATED")
    FORBIDDEN = ("forbidden", 403, "PERMISSION_DENIED")
    NOT_FOUND = ("not_found", 404, "NOT_FOUND")
    WRONG_METHOD = ("wrong_method", 405, "UNIMPLEMENTED")
    CONFLICT = ("conflict", 409, "FAILED_PRECONDITION")
    GONE = ("gone", 410, "NOT_FOUND")
    KEY_REUSED = ("key_reused", 422, "ALREADY_EXISTS")
    TOO_SLOW = ("too_slow", 408, "DEADLINE_EXCEEDED")
    # Not RESOURCE_EXHAUSTED: callers read that code as "busy, try again", but a second try would be just as large.
    TOO_LARGE = ("too_large", 413, "INVALID_ARGUMENT")
    WRONG_CODING = ("wrong_coding", 415, "INVALID_ARGUMENT")
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
    """An error that the caller will read.

    Args:
        kind: whose fault it is.
        detail: one sentence for the caller.
        retry_after: seconds after which a retry makes sense; sent as `Retry-After` if the kind is `BUSY` or
            `NOT_READY`.
    """

    def __init__(self, kind: Kind, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after


def bad_input(detail: str) -> HubError:
    """A `HubError` of kind BAD_INPUT, the most common one."""
    return HubError(Kind.BAD_INPUT, detail)


def listed(names: Iterable[str]) -> str:
    """Names for an error sentence, the first `MOST_NAMES` of them, each cut at 80 characters; "none" if there are none."""
    every = list(names)
    text = ", ".join([name[:80] for name in every[:MOST_NAMES]])
    more = len(every) - MOST_NAMES
    return f"{text} and {more} more" if more > 0 else text or "none"


def shown(value: object, limit: int = 60) -> str:
    """The `repr` of a value for an error sentence, cut at `limit` characters."""
    try:
        text = repr(value)
    except RecursionError:
        return "a value that is nested too deeply"
    return text if len(text) <= limit else text[: limit - 1] + "…"
