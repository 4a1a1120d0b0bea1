"""The limit on the bytes of requests that a process holds."""

from __future__ import annotations

from collections.abc import Callable

from inferencehub.core.values.errors import HubError, Kind


class ByteBudget:
    """Counts the bytes of all requests that a process has accepted and not answered yet, in all its lanes.

    Args:
        limit: bytes that may be held at a time.

    `relieve` is called if there is no room for more bytes. It may give bytes back until its argument, a function,
    returns True: then there is room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.relieve: Callable[[Callable[[], bool]], None] | None = None

    def take(self, size: int) -> None:
        """Account for `size` more bytes.

        Raises:
            HubError: as `check`.
        """
        if self.held + size > self.limit:
            self.check(size)
        self.held += size

    def check(self, size: int) -> None:
        """Check that there is room for `size` more bytes.

        Raises:
            HubError: BUSY if there is no room now, TOO_LARGE if `size` is above the limit.
        """
        if self.held + size <= self.limit:
            return
        if size > self.limit:
            raise HubError(Kind.TOO_LARGE, f"the request has {size} bytes, expected at most {self.limit}")
        if self.relieve is not None:
            self.relieve(lambda: self.held + size <= self.limit)
            if self.held + size <= self.limit:
                return
        raise HubError(
            Kind.BUSY,
            f"{self.held} bytes of requests are waiting and {size} more came; the limit is {self.limit}",
        )

    def add(self, size: int) -> None:
        """Account for `size` more bytes that are in memory already, even if they exceed the limit."""
        self.held += size
        if self.held > self.limit and self.relieve is not None:
            self.relieve(lambda: self.held <= self.limit)

    def give(self, size: int) -> None:
        """Give `size` bytes back."""
        self.held -= size
