"""Those who look at the page: one snapshot a second for all of them, and none while nobody looks.

A watcher holds nothing but the newest snapshot: one that reads slowly misses some, and one that reads nothing for
`PATIENCE_S` is ended (`stream.py`). All are ended when the gateway drains; they come back to another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from time import monotonic, thread_time

import msgspec

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.console.snapshot import Snapshot, Snapshots

logger = logging.getLogger(__name__)

TICK_S = 1.0
MOST = 16  # that look at a time, at each port
PATIENCE_S = 5.0


class Watcher:
    """One who looks: `came` is set when there is another snapshot, or the end."""

    def __init__(self) -> None:
        self.came = asyncio.Event()


class Watchers:
    """See the module's text.

    Args:
        snapshots: builds what they see.

    `newest` is the snapshot of this second, None before the first one. `ended` is True once the gateway drains. `spent_s` is
    the CPU time of all snapshots.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self.newest: Snapshot | None = None
        self.ended = False
        self.spent_s = 0.0
        self._texts: dict[Hashable, bytes] = {}  # the newest snapshot, as it is sent
        self._all: dict[str, set[Watcher]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._all.values()))

    def require_room(self, port: str) -> None:
        """Check that another one may look, at one of the two ports.

        Raises:
            HubError: BUSY if too many do so already, NOT_READY if the gateway drains.
        """
        if self.ended:
            raise HubError(Kind.NOT_READY, "this gateway ends, another one shows its console")
        if len(self._all.get(port, ())) >= MOST:
            raise HubError(Kind.BUSY, f"{MOST} look at the console of this gateway already, try again later")

    @contextmanager
    def watching(self, port: str) -> Iterator[Watcher]:
        """Look, at one of the two ports.

        Raises:
            HubError: as `require_room`.
        """
        self.require_room(port)
        there = self._all.setdefault(port, set())
        watcher = Watcher()
        there.add(watcher)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._tick())
        elif self.newest is not None:
            watcher.came.set()
        try:
            yield watcher
        finally:
            there.discard(watcher)
            if not len(self):
                self._rest()

    def text(self, who: Hashable, shown: Callable[[Snapshot], Snapshot]) -> bytes:
        """The event with the newest snapshot, made once for all who see the same; b"" while there is none.

        Args:
            who: equal for those who see the same.
            shown: makes what they may see of a snapshot.
        """
        if self.newest is None:
            return b""
        text = self._texts.get(who)
        if text is None:
            began = thread_time()
            text = self._texts[who] = event(b"snapshot", shown(self.newest))
            self.spent_s += thread_time() - began
        return text

    def end(self) -> None:
        """The gateway drains: nobody looks any more."""
        self.ended = True
        self._wake()
        self._rest()

    def _rest(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = self.newest = None
            self._texts.clear()
            self.snapshots.forget()

    def _wake(self) -> None:
        for there in self._all.values():
            for watcher in there:
                watcher.came.set()

    async def _tick(self) -> None:
        due = monotonic()
        while True:
            began = thread_time()
            try:
                self.newest = self.snapshots.build()
                self._texts.clear()
            except Exception:  # the page then stands still, which it says; the gateway does not
                logger.exception("the console has no snapshot of this second")
            self.spent_s += thread_time() - began
            self._wake()
            # A loop that was held up for seconds does not build two at once: the second one would show no time at all.
            due = max(due + TICK_S, monotonic() + TICK_S / 2)
            await asyncio.sleep(due - monotonic())


def event(name: bytes, value: Snapshot) -> bytes:
    """An event with JSON, which has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(value))
