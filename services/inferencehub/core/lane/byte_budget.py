"""How many bytes of requests a process may hold."""

from __future__ import annotations

from inferencehub.core.values.errors import HubError, Kind


class ByteBudget:
    """The bytes of all that a process has accepted and not answered yet, over all its lanes.

    Args:
        limit: bytes that may be held at a time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

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
        raise HubError(
            Kind.BUSY,
            f"{self.held} bytes of requests are waiting and {size} more came; the limit is {self.limit}",
        )

    def give(self, size: int) -> None:
        """Let `size` bytes go."""
        self.held -= size
