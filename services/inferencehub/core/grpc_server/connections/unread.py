"""Answers over gRPC that their callers have not read yet, by the rules that HTTP has (`core/http1/unread.py`).

gRPC holds an answer until its caller's windows let it out, and has no limit for that. So the answers of each connection
count in the process's budget of bytes, and a connection that takes nothing for `write_timeout_s` is ended, or sooner if
the budget is full.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from inferencehub.core.grpc_server.connections.tcp import Address, Connections, Counters, address_of
from inferencehub.core.http1.handler import Budget
from inferencehub.core.http1.limits import Limits
from inferencehub.core.http1.unread import Unread

HELD_FROM = 2**14  # bytes of a unary answer that counts
SCAN_S = 0.5  # the connections are looked through at most so often
STEP = 2**14  # bytes; less is no progress, for pings and empty frames are taken by everyone


class Caller:
    """One connection that has unread answers. See `Slow` in `core/http1/unread.py`."""

    __slots__ = ("_all", "_base", "_since", "_taken", "peer", "size")

    def __init__(self, all: UnreadAnswers, peer: str) -> None:
        self._all = all
        self._since = monotonic()
        self._base: int | None = None  # what TCP knew the first time
        self._taken = 0  # bytes of the unread answers that TCP has sent
        self.peer = peer
        self.size = 0

    def unsent(self) -> int:
        """The bytes of its answers that have not been taken, as far as it is known."""
        now = monotonic()
        if now - self._since > SCAN_S:
            sent = self._all.taken_by(self.peer, now)
            if self._base is None:
                self._base = sent
            elif sent - self._base >= STEP:
                self._taken += sent - self._base
                self._base = sent
        return max(self.size - self._taken, 1)

    def give(self, size: int) -> None:
        """An answer of `size` bytes was taken."""
        self.size -= size
        self._taken = max(self._taken - size, 0)

    def abort(self) -> None:
        """End the connection, and with it all its calls."""
        self._all.end(self.peer)


class UnreadAnswers:
    """The unread answers of a gRPC port.

    Args:
        connections: the port's connections.
        limits: how long a caller may read nothing, and when it may be ended to make room for others.
        budget: the process's budget of bytes.
    """

    def __init__(self, connections: Connections, limits: Limits, budget: Budget) -> None:
        self._connections = connections
        self._unread = Unread(limits.tick_s, limits.relief_s, limits.write_timeout_s, budget)
        self._callers: dict[str, Caller] = {}
        self._counters: dict[Address, Counters] = {}
        self._scanned = 0.0

    def hold(self, size: int, context: Any) -> None:
        """Count the answer to a unary call, if it is large, until its caller has taken it or has left."""
        if size >= HELD_FROM:
            caller = self.add(size, context)
            context.add_done_callback(lambda _: self.give(size, caller))

    def add(self, size: int, context: Any) -> Caller:
        """Count an answer of `size` bytes, until it is given back."""
        peer = context.peer()
        caller = self._callers.get(peer)
        if caller is None:
            self._callers[peer] = caller = Caller(self, peer)
            caller.size = size
            self._unread.add(caller)
        else:
            caller.size += size
            self._unread.look(caller)
        return caller

    def give(self, size: int, caller: Caller) -> None:
        """An answer was taken, or its caller has left."""
        caller.give(size)
        if caller.size:
            self._unread.look(caller)
        else:
            self._unread.remove(caller)
            if self._callers.get(caller.peer) is caller:
                del self._callers[caller.peer]

    def relieve(self, fits: Callable[[], bool]) -> None:
        """End connections until `fits()` is true, the one without progress for the longest time first."""
        self._unread.relieve(fits)

    def taken_by(self, peer: str, now: float) -> int:
        """How many bytes a caller has taken since it connected."""
        if now - self._scanned > SCAN_S:
            self._counters, self._scanned = self._connections.counters(), now
        found = self._counters.get(address_of(peer))
        return found.taken if found is not None else 0

    def end(self, peer: str) -> None:
        """End a connection. Its calls end a moment later; they count no more."""
        self._callers.pop(peer, None)
        self._connections.cut(address_of(peer))
