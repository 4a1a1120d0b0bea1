"""How many bytes of requests a process may hold."""

from __future__ import annotations

from collections.abc import Callable

from inferencehub.core.values.errors import HubError, Kind


class ByteBudget:
    """The bytes of all that a process has accepted and not answered yet, over all its lanes.

    Args:
        limit: bytes that may be held at a time.

    `relieve` is called where more is wanted than there is room for. It may give bytes back, until what it is called
    with says that there is room now.
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
        self.check(size)
        self.held += size

    def check(self, size: int) -> None:
        """Do nothing where `size` more bytes may be taken.

        Raises:
            HubError: BUSY where they would go over the limit, TOO_LARGE where they never could.
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
        """Account for `size` more bytes that are there already, also where they go over the limit."""
        self.held += size
        if self.held > self.limit and self.relieve is not None:
            self.relieve(lambda: self.held <= self.limit)

    def give(self, size: int) -> None:
        """Let `size` bytes go."""
        self.held -= size
