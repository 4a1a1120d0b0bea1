"""Messages that have arrived in part: gRPC keeps their bytes, and tells nobody.

gRPC takes a message of a call once its headers are there, up to its largest size, and waits for the rest for as long as
the connection lives. So each second the bytes that a connection has sent, as TCP counts them, are compared with the
messages that came out of it. What is missing counts in the process's budget of bytes. If the budget is full, the
connection with the most missing bytes is ended; one that brings no whole message for `body_timeout_s` is ended too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from inferencehub.core.grpc_server.connections.tcp import Address, Connections, Counters, address_of
from inferencehub.core.http1.handler import Budget

AROUND = 400  # bytes of headers and frames around a message, without what the caller adds to its headers
FRAMES = 100  # frames of a large message are at most one part in so many of it
SMALL = 2**18  # missing bytes that do not count: settings, pings, headers of calls that were cancelled
CAUTION = 50  # a scan takes at most one part in so many of the time


class Sender:
    """One connection.

    `missing` is the number of bytes that it has sent and that have not become whole messages. `held_back` is the number of
    its streams that we do not read at the moment.
    """

    __slots__ = ("_least", "_sent", "held_back", "messages", "missing", "peer", "since")

    def __init__(self, now: float) -> None:
        self.peer = ""  # what gRPC calls it, once a call of it is known
        self.held_back = 0
        self.messages = 0  # bytes of whole messages, with what is around them
        self.missing = 0
        self.since = now  # when it had no missing bytes, or brought a message, for the last time
        self._least = 0  # the least difference seen of bytes and messages: too much is taken for headers
        self._sent = 0

    def took(self, size: int) -> None:
        """A message of `size` bytes is whole."""
        self.messages += size + AROUND + size // FRAMES
        self.since = monotonic()

    def look(self, counters: Counters, now: float) -> int:
        """Compare with what TCP counts; the change of `missing`."""
        again = counters.sent < self._sent  # it is another connection from the same address
        self._sent = counters.sent
        ahead = counters.sent - self.messages - counters.taken // 2  # answers are acknowledged, by bytes too
        if again:
            self._least = ahead
        self._least = min(self._least, ahead)
        missing = ahead - self._least
        before, self.missing = self.missing, missing if missing > SMALL else 0
        if not self.missing or self.held_back:
            self.since = now
        return self.missing - before


class Arriving:
    """All connections of a port.

    Args:
        connections: the port's connections.
        body_timeout_s: how long a connection may bring no whole message, once it has begun one.
        budget: the process's budget of bytes.
        tick_s: seconds between two scans.
    """

    def __init__(
        self, connections: Connections, body_timeout_s: float, budget: Budget, tick_s: float
    ) -> None:
        self._connections = connections
        self._body_timeout_s = body_timeout_s
        self._budget = budget
        self._tick_s = tick_s
        self._senders: dict[Address, Sender] = {}
        self._known: dict[str, Sender] = {}  # by what gRPC calls a peer
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Scan from now on."""
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def stop(self) -> None:
        """Scan no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def took(self, context: Any, size: int) -> None:
        """A call has brought a whole message, which had `size` bytes as it came."""
        self.sender(context).took(size)

    def sender(self, context: Any) -> Sender:
        """The connection of a call that has just begun; what the caller has added to its headers is none of a message."""
        peer = context.peer()
        sender = self._known.get(peer)
        if sender is None:
            sender = self._senders.setdefault(address_of(peer), Sender(monotonic()))
            self._known[peer] = sender
            sender.peer = peer
        sender.messages += sum([len(name) + len(value) for name, value in context.invocation_metadata()])
        return sender

    def relieve(self, fits: Callable[[], bool]) -> None:
        """End connections until `fits()` is true, the one with the most missing bytes first."""
        for address, sender in sorted(self._senders.items(), key=lambda item: -item[1].missing):
            if fits() or not sender.missing:
                return
            self._end(address)

    def _tick(self) -> None:
        began = monotonic()
        seen = self._connections.counters()
        for address in self._senders.keys() - seen.keys():
            self._forget(address)
        for address, counters in seen.items():
            sender = self._senders.setdefault(address, Sender(began))
            change = sender.look(counters, began)
            if change < 0:
                self._budget.give(-change)
            elif change > 0:
                self._budget.add(change)
        for address, sender in list(self._senders.items()):
            if began - sender.since > self._body_timeout_s:
                self._end(address)
        wait_s = max(self._tick_s, CAUTION * (monotonic() - began))
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _end(self, address: Address) -> None:
        """End a connection; it counts no more."""
        self._forget(address)
        self._connections.cut(address)

    def _forget(self, address: Address) -> None:
        sender = self._senders.pop(address)
        self._known.pop(sender.peer, None)
        self._budget.give(sender.missing)
