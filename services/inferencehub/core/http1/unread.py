"""Answers that their callers have not read yet: their bytes count in the process's budget, and there is a time limit.

A connection is here while bytes of its answers wait to be sent. At each tick, bytes that were sent are given back to
the budget, and connections without progress for `write_timeout_s` are aborted. If the budget is full, the connection
without progress for the longest time is aborted first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from inferencehub.core.http1.handler import Budget


class Slow(Protocol):
    """A connection whose caller may read slowly."""

    def unsent(self) -> int:
        """The number of bytes that wait to be sent."""

    def moved(self) -> bool:
        """Whether its caller has read anything since the last time that `unsent` does not show."""

    def abort(self) -> None:
        """Abort the connection, and drop its bytes at once."""


class Waiting:
    """The bytes that wait on one connection, and since when there was no progress."""

    __slots__ = ("since", "size")

    def __init__(self, size: int, since: float) -> None:
        self.size = size
        self.since = since


class Unread:
    """The connections of a server that have bytes to send.

    Args:
        tick_s: seconds between two checks.
        relief_s: seconds that a caller must have read nothing before it may be dropped to make room for others.
        write_timeout_s: seconds that a caller may read nothing.
        budget: the process's budget of bytes.
    """

    def __init__(self, tick_s: float, relief_s: float, write_timeout_s: float, budget: Budget) -> None:
        self._tick_s = tick_s
        self._relief_s = relief_s
        self._write_timeout_s = write_timeout_s
        self._budget = budget
        self._waiting: dict[Slow, Waiting] = {}
        self._relieving = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Slow) -> None:
        """Add a connection that has unsent bytes."""
        loop = asyncio.get_running_loop()
        size = connection.unsent()
        self._waiting[connection] = Waiting(size, loop.time())
        self._budget.add(size)
        if self._timer is None:
            self._timer = loop.call_later(self._tick_s, self._tick)

    def look(self, connection: Slow) -> None:
        """Update a connection before and after a write to it, if it has unsent bytes."""
        if connection in self._waiting:
            self._look_at(connection, asyncio.get_running_loop().time())

    def remove(self, connection: Slow) -> None:
        """Remove a connection: its bytes are sent, or it is closed."""
        waiting = self._waiting.pop(connection, None)
        if waiting is not None:
            self._budget.give(waiting.size)

    def relieve(self, fits: Callable[[], bool]) -> None:
        """Abort connections until `fits()` is true, the one without progress for the longest time first."""
        if self._relieving:
            return  # `_look_at` below may call this method again, through the budget
        self._relieving = True
        now = asyncio.get_running_loop().time()
        try:
            for connection in self._waiting:
                self._look_closely(connection, now)
            for connection, waiting in sorted(self._waiting.items(), key=lambda item: item[1].since):
                if fits() or now - waiting.since < self._relief_s:
                    break
                self._drop(connection)
        finally:
            self._relieving = False

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            for connection, waiting in list(self._waiting.items()):
                if connection not in self._waiting:
                    continue  # dropped to make room for another one
                self._look_closely(connection, now)
                if now - waiting.since >= self._write_timeout_s:
                    self._drop(connection)
        finally:
            self._timer = loop.call_later(self._tick_s, self._tick) if self._waiting else None

    def _look_closely(self, connection: Slow, now: float) -> None:
        self._look_at(connection, now)
        waiting = self._waiting.get(connection)  # the budget may have dropped it meanwhile
        if waiting is not None and waiting.since < now and connection.moved():
            waiting.since = now

    def _look_at(self, connection: Slow, now: float) -> None:
        """Give back the bytes that were sent since the last check, and account for new ones."""
        waiting, size = self._waiting[connection], connection.unsent()
        more, waiting.size = size - waiting.size, size
        if more < 0:
            waiting.since = now
            self._budget.give(-more)
        elif more > 0:
            self._budget.add(more)

    def _drop(self, connection: Slow) -> None:
        self.remove(connection)
        connection.abort()
