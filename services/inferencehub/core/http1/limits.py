"""Limits on the time, memory and connections that callers use, and the state that all connections of a server share."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass

from inferencehub.core.http1.handler import Budget, Handler, Headers
from inferencehub.core.http1.unread import Unread

logger = logging.getLogger(__name__)

KEPT_FILES = 256  # files for listening sockets, connections to other tiers, logs and models
FEW = 4096  # with fewer connections than this, a warning is logged
MANY = 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows its callers. Times are in seconds.

    Args:
        header_timeout_s: the longest time from the start of a connection, or a head's first byte, to the head's end.
        body_timeout_s: the longest time from the end of a head to the end of its body.
        keep_alive_s: how long an idle connection stays open; must be longer than the load balancer in front keeps it.
        write_timeout_s: how long a caller may read nothing of its answer.
        new_s: how long a server that stops waits for the first request of a connection.
        linger_s: how long bytes are still read after a refusal, so that the caller can read the refusal.
        tick_s: the time between two checks for callers that read slowly.
        relief_s: how long a caller must have read nothing before it may be dropped to make room for others.
        max_head_bytes: the limit for a head, for trailers and chunk extensions, and for requests that wait for another.
        max_turn: requests of a connection that begin before other connections have their turn.
        max_connections: connections that are open at a time; others are closed at once.
    """

    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    write_timeout_s: float = 60.0
    new_s: float = 2.0
    linger_s: float = 1.0
    tick_s: float = 1.0
    relief_s: float = 0.1
    max_head_bytes: int = 64 * 1024
    max_turn: int = 16
    max_connections: int = MANY

    @property
    def too_much_head(self) -> str:
        """The error text for a head that is too large."""
        return f"expected a request head of at most {self.max_head_bytes} bytes, got a larger one"


def allowed_connections() -> int:
    """The number of connections that the process's limit of open files allows; logs a warning if it is small."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return MANY
    allowed = max(files - KEPT_FILES, files // 2)
    if allowed < FEW:
        logger.warning(
            "the limit of open files allows few connections", extra={"files": files, "connections": allowed}
        )
    return min(allowed, MANY)


class Serving:
    """What the connections of one server share.

    Args:
        handler: answers the requests.
        limits, budget: limits on what callers use.

    `headers` are those that every answer has, and `lines` are the same headers as header lines. `received` and `sent` count
    the bytes of all connections since the start, without those that TLS adds.
    """

    def __init__(self, handler: Handler, limits: Limits, budget: Budget) -> None:
        self.handler = handler
        self.limits = limits
        self.budget = budget
        self.unread = Unread(limits.tick_s, limits.relief_s, limits.write_timeout_s, budget)
        self.headers: Headers = []
        self.lines = b""
        self.received = self.sent = 0

    def learn(self, headers: Headers) -> None:
        """Turn uvicorn's default headers into header lines; uvicorn makes a new list each second, with the date."""
        self.headers = headers
        self.lines = b"".join([b"%b: %b\r\n" % header for header in headers])
