"""What an attempt tells before its end: its progress, and its stream of answers as far as it has come.

It goes into the store a few times a second, and not at all if the attempt has ended before: then the result says it all. A
model that is faster than that is told of in part, and the result has the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from inferencehub.core.values.errors import HubError
from inferencehub.gateway.jobs.store import MOST_TOLD, Store

TELL_S = 0.25


class Telling:
    """See the module's text.

    Args:
        store: keeps it.
        id, attempt: which attempt.
        told: called when the store has more of it.
    """

    __slots__ = ("_at", "_attempt", "_closed", "_id", "_parts", "_progress", "_store", "_told", "_working")

    def __init__(self, store: Store, id: str, attempt: int, told: Callable[[str], None]) -> None:
        self._store = store
        self._id = id
        self._attempt = attempt
        self._told = told
        self._parts: deque[bytes] = deque()  # that the store does not have yet
        self._at = 0  # bytes of the stream before them
        self._progress: float | None = None
        self._working: asyncio.Task[None] | None = None
        self._closed = False

    def part(self, data: bytes) -> None:
        """The next bytes of the stream of answers."""
        if not self._closed:
            self._parts.append(data)
            self._work()

    def progress(self, value: float) -> None:
        """How far the attempt is, from 0 to 1."""
        if not self._closed:
            self._progress = value
            self._work()

    def close(self) -> None:
        """The attempt has ended, or nobody needs it any more."""
        self._closed = True
        self._parts.clear()
        if self._working is not None:
            self._working.cancel()

    def _work(self) -> None:
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while not self._closed:
                await asyncio.sleep(TELL_S)
                progress, self._progress = self._progress, None
                try:
                    size = await self._store.tell(self._id, self._attempt, self._at, self._next(), progress)
                except HubError:  # the store may be back at the next time
                    if self._progress is None:
                        self._progress = progress
                    continue
                if size < 0:
                    self.close()
                    return
                self._kept(size)
                self._told(self._id)
                if not self._parts and self._progress is None:
                    return
        finally:
            self._working = None

    def _next(self) -> bytes:
        """What is told at a time."""
        taken, size = [], 0
        for part in self._parts:
            taken.append(part[: MOST_TOLD - size])
            size += len(taken[-1])
            if size == MOST_TOLD:
                break
        return b"".join(taken)

    def _kept(self, size: int) -> None:
        """The store has so many bytes of the stream."""
        while self._parts and self._at < size:
            part = self._parts.popleft()
            if self._at + len(part) > size:
                self._parts.appendleft(part[size - self._at :])
                self._at = size
            else:
                self._at += len(part)
