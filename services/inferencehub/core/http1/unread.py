"""Answers that their callers have not read yet: they count in the process's budget, and not for ever.

A connection is here while bytes of its answers wait to be sent. Once a tick, what went out is given back to the budget,
and connections that made no progress for `write_timeout_s` are broken off. Where the budget is short, the one that made
no progress for the longest goes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from inferencehub.core.http1.handler import Budget


class Slow(Protocol):
    """What is needed of a connection."""

    def unsent(self) -> int:
        """How many bytes wait to be sent."""

    def abort(self) -> None:
        """Break it off: what waits is gone when this returns."""


class Waiting:
    """What waits on one connection: bytes, and since when there was no progress."""

    __slots__ = ("since", "size")

    def __init__(self, size: int, since: float) -> None:
        self.size = size
        self.since = since


class Unread:
    """All connections of a server whose callers have something to read.

    Args:
        tick_s: seconds between two looks.
        relief_s: for which a caller must have read nothing before it may be dropped to make room for others.
        write_timeout_s: for which a caller may read nothing.
        budget: the process's.
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
        """A connection has something that is not sent."""
        loop = asyncio.get_running_loop()
        size = connection.unsent()
        self._waiting[connection] = Waiting(size, loop.time())
        self._budget.add(size)
        if self._timer is None:
            self._timer = loop.call_later(self._tick_s, self._tick)

    def look(self, connection: Slow) -> None:
        """More is about to be written to a connection that has something unsent, or was."""
        if connection in self._waiting:
            self._look_at(connection, asyncio.get_running_loop().time())

    def remove(self, connection: Slow) -> None:
        """It is sent, or the connection is gone."""
        waiting = self._waiting.pop(connection, None)
        if waiting is not None:
            self._budget.give(waiting.size)

    def relieve(self, fits: Callable[[], bool]) -> None:
        """Break off connections, those without progress for longest first, until `fits()` is true."""
        if self._relieving:
            return  # what is found while looking is counted, and needs no further look
        self._relieving = True
        now = asyncio.get_running_loop().time()
        for connection in self._waiting:
            self._look_at(connection, now)
        for connection, waiting in sorted(self._waiting.items(), key=lambda item: item[1].since):
            if fits() or now - waiting.since < self._relief_s:
                break
            self._drop(connection)
        self._relieving = False

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection, waiting in list(self._waiting.items()):
            if connection not in self._waiting:
                continue  # dropped to make room for another one
            self._look_at(connection, now)
            if now - waiting.since >= self._write_timeout_s:
                self._drop(connection)
        self._timer = loop.call_later(self._tick_s, self._tick) if self._waiting else None

    def _look_at(self, connection: Slow, now: float) -> None:
        """Give back what went out since the last look; account for what was added."""
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
