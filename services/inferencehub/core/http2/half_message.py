"""A large message that has not arrived completely: its own buffer, and its account in the process's budget of bytes.

If the budget has no room for the bytes that arrive, they are dropped and the rest of the message is skipped. Only its
beginning is kept, which says whose message it is.
"""

from __future__ import annotations

from typing import Protocol

from inferencehub.core.values.buffers import room
from inferencehub.core.values.errors import HubError

HEAD = 4096  # bytes that are kept of a message for which there is no room


class Budget(Protocol):
    """The limit on the bytes that the process holds; see `ByteBudget`."""

    def take(self, size: int) -> None:
        """Account for `size` more bytes.

        Raises:
            HubError: if there is no room for them.
        """

    def give(self, size: int) -> None:
        """Give `size` bytes back."""


class HalfMessage:
    """See the module's text. At most one message is incomplete at a time.

    Args:
        budget: accounts for the bytes; None for no limit.

    `wants` says whether bytes go into the buffer, and `place` is the part of it that is still empty. `skip` is the
    number of bytes that still come of a message for which there was no room, and `head` its first bytes. `whole` counts
    the messages that were completed.
    """

    __slots__ = ("_budget", "_buffer", "_dropped", "_held", "head", "place", "skip", "wants", "whole")

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._buffer = self.place = memoryview(b"")
        self._held = 0  # bytes in the budget
        self._dropped = self.wants = False
        self.skip = self.whole = 0
        self.head = b""

    @property
    def there(self) -> bool:
        """Whether a message has arrived in part."""
        return self.wants or self.skip > 0

    def begin(self, size: int) -> None:
        """A message of `size` bytes begins."""
        self._buffer = self.place = room(size)
        self.wants = True

    def filled(self, size: int) -> memoryview | None:
        """`size` bytes were written to `place`; returns the message if it is complete now."""
        self.place = self.place[size:]
        if not self.place:
            message = self._buffer
            self.whole += 1
            self._forget()
            return message
        if self._budget is not None:
            try:
                self._budget.take(size)
            except HubError:
                self.head = bytes(self._buffer[: len(self._buffer) - len(self.place)][:HEAD])
                self.skip = len(self.place)
                self._forget()
            else:
                self._held += size
        if self._dropped:  # by the budget, to make room
            self.drop()
        return None

    def drop(self) -> None:
        """Drop everything for good."""
        self._dropped = True
        self._forget()
        self.skip = 0
        self.head = b""

    def _forget(self) -> None:
        self.wants = False
        self._buffer = self.place = memoryview(b"")
        if self._budget is not None:
            self._budget.give(self._held)
        self._held = 0
