"""Answers over gRPC that their callers have not read yet, by the rules that HTTP has (`core/http1/unread.py`).

gRPC holds an answer until its caller's windows let it out, and has no limit for that. So the answers of each connection
count in the process's budget of bytes, and a connection that takes nothing for `write_timeout_s` is ended, or sooner if
the budget is full. It takes something if one of its answers is complete, or if TCP has brought more bytes to it. Many
callers may share a connection, so it is not ended while any of them reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inferencehub.core.grpc_server.connections.tcp import SCAN_S, Connections, address_of
from inferencehub.core.http1.handler import Budget
from inferencehub.core.http1.limits import Limits
from inferencehub.core.http1.unread import Unread

HELD_FROM = 2**14  # bytes of a unary answer that counts
STEP = 2**14  # bytes; less is no progress, for pings and empty frames are taken by everyone


class Caller:
    """One connection that has unread answers. See `Slow` in `core/http1/unread.py`."""

    __slots__ = ("_acked", "_all", "peer", "size")

    def __init__(self, all: UnreadAnswers, peer: str) -> None:
        self._all = all
        self._acked: int | None = None  # bytes, at its last progress; None before the first look
        self.peer = peer
        self.size = 0

    def unsent(self) -> int:
        """The bytes of its answers that are not complete."""
        return self.size

    def moved(self) -> bool:
        """Whether it has taken anything since the last time; True as well where that is not known."""
        acked, before = self._all.acked(self.peer), self._acked
        if acked is not None and before is not None and 0 <= acked - before < STEP:
            return False
        self._acked = acked
        return True

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
        relief_s = max(limits.relief_s, 2 * SCAN_S + limits.tick_s)  # progress is seen after a look or two
        self._unread = Unread(limits.tick_s, relief_s, limits.write_timeout_s, budget)
        self._callers: dict[str, Caller] = {}
        self.went = 0  # bytes of all answers

    def hold(self, size: int, context: Any) -> None:
        """Count the answer to a unary call, if it is large, until its caller has taken it or has left."""
        if size >= HELD_FROM:
            caller = self.add(size, context)
            context.add_done_callback(lambda _: self.give(size, caller))
        else:
            self.went += size

    def add(self, size: int, context: Any) -> Caller:
        """Count an answer of `size` bytes, until it is given back."""
        self.went += size
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
        caller.size -= size
        if caller.size:
            self._unread.look(caller)
        else:
            self._unread.remove(caller)
            if self._callers.get(caller.peer) is caller:
                del self._callers[caller.peer]

    def relieve(self, fits: Callable[[], bool]) -> None:
        """End connections until `fits()` is true, the one without progress for the longest time first."""
        self._unread.relieve(fits)

    def acked(self, peer: str) -> int | None:
        """How many bytes a caller has taken since it connected; None where that is not known."""
        return self._connections.acked(address_of(peer))

    def end(self, peer: str) -> None:
        """End a connection. Its calls end a moment later; they count no more."""
        self._callers.pop(peer, None)
        self._connections.cut(address_of(peer))
