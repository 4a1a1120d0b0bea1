"""What callers may take: time, memory and connections; and what all connections of a server share because of that."""

from __future__ import annotations

import logging
import resource

from inferencehub.core.http1.handler import Budget, Handler, Headers
from inferencehub.core.http1.unread import Unread
from inferencehub.core.values.value_class import value_class

logger = logging.getLogger(__name__)

KEPT_FILES = 256  # for listening sockets, connections to other tiers, logs and models
FEW = 4096  # fewer connections than a busy process may need
MANY = 65_536


@value_class(frozen=True, slots=True)
class Limits:
    """What a server allows its callers. Times are in seconds.

    Args:
        header_timeout_s: from a connection's begin, or a head's first byte, to the head's end.
        body_timeout_s: from a head's end to its body's.
        keep_alive_s: for which an idle connection is kept; longer than whatever is in front keeps it.
        write_timeout_s: for which a caller may read nothing of its answer.
        new_s: for which a server that stops waits for the first request of a connection.
        linger_s: for which a connection that was refused is read on, so that its caller can read the refusal.
        tick_s: between two looks at callers that read slowly.
        relief_s: for which a caller must have read nothing before it may be dropped to make room for others.
        max_head_bytes: of a head; also of trailers and chunk extensions, and of requests that wait for another.
        max_turn: requests of a connection that are begun before other connections have their turn.
        max_connections: that are open at a time; further ones are closed at once.
    """

    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    write_timeout_s: float = 60.0
    new_s: float = 0.5
    linger_s: float = 1.0
    tick_s: float = 1.0
    relief_s: float = 0.1
    max_head_bytes: int = 64 * 1024
    max_turn: int = 16
    max_connections: int = MANY

    @property
    def too_much_head(self) -> str:
        """The sentence for a head that is too large."""
        return f"expected a request head of at most {self.max_head_bytes} bytes, got a larger one"


def allowed_connections() -> int:
    """How many connections the process's limit of open files leaves room for; warns where they are few."""
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
        limits, budget: what callers may take.

    `lines` are those of `headers`, which every answer has.
    """

    def __init__(self, handler: Handler, limits: Limits, budget: Budget) -> None:
        self.handler = handler
        self.limits = limits
        self.budget = budget
        self.unread = Unread(limits.tick_s, limits.relief_s, limits.write_timeout_s, budget)
        self.headers: Headers = []
        self.lines = b""

    def learn(self, headers: Headers) -> None:
        """Write uvicorn's headers for every answer as lines; their list is a new one each second."""
        self.headers = headers
        self.lines = b"".join([b"%b: %b\r\n" % header for header in headers])
