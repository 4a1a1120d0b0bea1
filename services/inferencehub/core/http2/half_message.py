"""A large message that has not arrived completely: its own buffer, and its account in the process's budget of bytes.

A message may be given up: there is no room for its bytes, it arrives too slowly, or it is too large. Then its bytes are
dropped and the rest of it is skipped. Only its beginning is kept, which says whose message it is. The connection, and
all other messages on it, go on.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from inferencehub.core.values.buffers import room
from inferencehub.core.values.errors import HubError

HEAD = 4096  # bytes that are kept of a message that was given up


class Budget(Protocol):
    """The limit on the bytes that the process holds; see `ByteBudget`."""

    def take(self, size: int) -> None:
        """Account for `size` more bytes.

        Raises:
            HubError: if there is no room for them.
        """

    def give(self, size: int) -> None:
        """Give `size` bytes back."""


class GivenUp(Enum):
    """Why the rest of a message is skipped."""

    NO_ROOM = "no room"  # in the budget of bytes
    TOO_SLOW = "too slow"
    TOO_LARGE = "too large"


class HalfMessage:
    """See the module's text. At most one message is incomplete at a time.

    Args:
        budget: accounts for the bytes; None for no limit.

    `wants` says whether bytes go into the buffer, and `place` is the part of it that is still empty. `skip` is the
    number of bytes that still come of a message that was given up. `begun` counts the messages that got a buffer.
    """

    __slots__ = ("_budget", "_buffer", "_head", "_held", "_why", "begun", "place", "skip", "wants")

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._buffer = self.place = memoryview(b"")
        self._held = 0  # bytes in the budget
        self._head = b""  # the first bytes of a message that was given up
        self._why: GivenUp | None = None  # until `refusal` has returned it
        self.wants = False
        self.skip = self.begun = 0

    @property
    def there(self) -> bool:
        """Whether a message has arrived in part."""
        return self.wants or self.skip > 0

    def begin(self, size: int) -> None:
        """A message of `size` bytes begins."""
        self._buffer = self.place = room(size)
        self.wants = True
        self.begun += 1

    def filled(self, size: int) -> memoryview | None:
        """`size` bytes were written to `place`; returns the message if it is complete now."""
        self.place = self.place[size:]
        if not self.place:
            message = self._buffer
            self._forget()
            return message
        if self._budget is not None:
            try:
                self._budget.take(size)
            except HubError:
                self.give_up(GivenUp.NO_ROOM)
            else:
                self._held += size
                if not self.wants:  # the budget has just given it up, to make room
                    self._forget()
        return None

    def give_up(self, why: GivenUp) -> None:
        """Drop the bytes of the incomplete message, and skip the rest of it; nothing happens if there is none."""
        if self.wants:
            self.pass_over(len(self.place), why)
            self._head = bytes(self._buffer[: len(self._buffer) - len(self.place)][:HEAD])
            self._forget()

    def pass_over(self, size: int, why: GivenUp) -> None:
        """Skip the next `size` bytes, the rest of a message or all of it."""
        self.skip, self._head, self._why = size, b"", why

    def skipped(self, data: memoryview) -> None:
        """`data` has arrived, and belongs to what is skipped."""
        self.skip -= len(data)
        if self._why is not None:
            self._head += data[: HEAD - len(self._head)]

    def refusal(self) -> tuple[bytes, GivenUp] | None:
        """The first bytes of a message that was given up, and the reason; once, when HEAD bytes or all have arrived."""
        if self._why is None or (self.skip and len(self._head) < HEAD):
            return None
        refusal = self._head, self._why
        self._head, self._why = b"", None
        return refusal

    def drop(self) -> None:
        """Drop everything for good."""
        self._forget()
        self.skip, self._head, self._why = 0, b"", None

    def _forget(self) -> None:
        self.wants = False
        self._buffer = self.place = memoryview(b"")
        if self._budget is not None:
            self._budget.give(self._held)
        self._held = 0
