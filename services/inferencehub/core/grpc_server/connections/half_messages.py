"""Messages over gRPC that have arrived in part. gRPC keeps their bytes, has no bound for all of them, and tells nobody.

Two witnesses are asked, and both must say the same. The memory of the process: it has grown by more than the requests
that are accounted for. And TCP: a connection has sent more bytes than came out of it as whole messages. One alone would
be wrong too often: uploads that were cancelled look to TCP as half messages do, and memory grows for many reasons. If
both say that half messages have more than half of the process's budget of bytes, the connections with the most are
ended.

Only Linux has the figures; elsewhere nothing is bounded here.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Any

from inferencehub.core.grpc_server.connections.memory import Trimmer, memory, trim
from inferencehub.core.grpc_server.connections.tcp import Address, Connections, address_of
from inferencehub.core.lane.byte_budget import ByteBudget

LOOK_S = 0.1
HELD_UP_S = 0.25  # after a longer pause of the event loop, messages may be whole and not handed over yet
IDLE_LOOKS = 10  # in a row without requests: then nobody waits for the event loop
LEAST = 2**24  # bytes of half messages that are no reason to act
FREED_S = 1.0  # after its end, the messages of a connection are in memory for so long at most
SMALL = 2**20  # missing bytes of a connection that do not count: settings, pings, headers of cancelled calls
AROUND = 400  # bytes of headers and frames around a message
FRAMES = 100  # frames of a large message are at most one part in so many of it
MOST_KNOWN = 10_000  # connections; if there are more, those that have gone are forgotten

logger = logging.getLogger(__name__)


class HalfMessages:
    """The half messages of a gRPC port.

    Args:
        connections: the port's connections.
        budget: the process's budget of bytes.
    """

    def __init__(self, connections: Connections, budget: ByteBudget) -> None:
        self._connections = connections
        self._budget = budget
        self._most = max(budget.limit // 2, LEAST)
        self.came = 0  # bytes of whole messages, of all peers
        self._whole: dict[str, int] = {}  # bytes of whole messages, by what gRPC calls a peer
        self._most_known = MOST_KNOWN
        self._rest = 0  # memory that neither accounted requests nor half messages use
        self._too_many = False  # so the last look has found
        # Connections that were ended just now: their bytes, and when these are free at the latest.
        self._ended: dict[Address, tuple[int, float]] = {}
        self._idle = 0  # looks in a row
        self._trimmer = Trimmer()
        self._next = 0.0  # when the next look is due
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on, where that is possible."""
        used = memory()
        if used is not None:
            self._rest = used - self._budget.held
            self._again()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def took(self, size: int, context: Any) -> None:
        """A call has brought a whole message, which had `size` bytes as it came."""
        peer = context.peer()
        self._whole[peer] = self._whole.get(peer, 0) + size + size // FRAMES + AROUND
        self._idle = 0
        self.came += size

    def _again(self) -> None:
        self._next = monotonic() + LOOK_S
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._on_time)

    def _on_time(self) -> None:
        try:
            if monotonic() - self._next < HELD_UP_S:
                self._look()
        finally:
            self._again()

    def _look(self) -> None:
        grown = self._grown()
        too_many = grown > self._most and self._connections.may_survey()
        if too_many and self._too_many:  # two looks in a row
            trim()
            if self._grown() > self._most:
                self._ask_tcp()
        self._too_many = too_many
        self._idle = 0 if self._budget.held else self._idle + 1
        if self._idle > IDLE_LOOKS:  # whatever has grown: what was taken for rest may be free by now
            self._trimmer.look()
        if len(self._whole) > self._most_known:
            self._missing()

    def _grown(self) -> int:
        """By how much more memory is used than at rest, without requests that are accounted for."""
        used = memory()
        if used is None:
            return 0
        other = used - self._budget.held
        self._rest = min(self._rest, other)
        return other - self._rest

    def _ask_tcp(self) -> None:
        """End the connections with the most bytes of half messages, until the rest of them is within the limit."""
        now = monotonic()
        self._ended = {address: ended for address, ended in self._ended.items() if now < ended[1]}
        missing = self._missing()
        if missing is None:
            return
        there = sum(missing.values())
        known = there + sum(size for size, _ in self._ended.values())
        self._rest += max(0, self._grown() - known)  # it has grown for another reason
        over = min(self._grown(), there) - self._most
        for address, size in sorted(missing.items(), key=lambda item: -item[1]):
            if over <= 0:
                return
            over -= size
            self._ended[address] = size, now + FREED_S
            self._connections.cut(address)
            logger.warning(
                "half messages use too much memory, so the connection with the most is ended",
                extra={"peer": f"{address[0]}:{address[1]}", "bytes": size, "limit": self._most},
            )

    def _missing(self) -> dict[Address, int] | None:
        """How many bytes each connection has sent that are no whole messages; None if that cannot be asked now."""
        received = self._connections.received()
        if received is None:
            return None
        whole = {address_of(peer): (peer, size) for peer, size in self._whole.items()}
        self._whole = dict(whole[address] for address in received if address in whole)
        self._most_known = max(MOST_KNOWN, 2 * len(self._whole))
        small = min(SMALL, self._most // (2 * max(1, len(received))))  # so that many do not hide much
        missing = {address: size - whole.get(address, ("", 0))[1] for address, size in received.items()}
        return {
            address: size for address, size in missing.items() if size > small and address not in self._ended
        }
