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
from collections.abc import Iterable
from time import monotonic
from typing import Any

from inferencehub.core.grpc_server.connections.memory import CHANGE, Trimmer, memory, trim
from inferencehub.core.grpc_server.connections.tcp import Address, Connections, address_of
from inferencehub.core.lane.byte_budget import ByteBudget

LOOK_S = 0.1
FREED_S = 1.0  # after its end, the messages of a connection are in memory for so long at most
SMALL = 2**20  # missing bytes of a connection that do not count: settings, pings, headers of cancelled calls
AROUND = 400  # bytes of headers and frames around a message, without what the caller adds to its headers
FRAMES = 100  # frames of a large message are at most one part in so many of it
MOST_KNOWN = 1000  # connections; if there are more, those that have gone are forgotten

Metadata = Iterable[tuple[str, str | bytes]]

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
        self._most = budget.limit // 2
        self._whole: dict[str, int] = {}  # bytes of whole messages, by what gRPC calls a peer
        self._most_known = MOST_KNOWN
        self._rest = 0  # memory that neither accounted requests nor half messages use
        self._leaving = 0  # bytes of connections that were ended just now,
        self._freed_at = 0.0  # and when they are free at the latest
        self._trimmer = Trimmer()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        self._rest = self._other()
        self._again()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def took(self, size: int, context: Any, metadata: Metadata = ()) -> None:
        """A call has brought a whole message.

        Args:
            size: its bytes as they came.
            context: gRPC's side of the call.
            metadata: the call's metadata, at its first message.
        """
        peer = context.peer()
        for name, value in metadata:
            size += len(name) + len(value)
        self._whole[peer] = self._whole.get(peer, 0) + size + size // FRAMES + AROUND

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        try:
            grown = self._grown()
            if grown > self._most:
                trim()
                if self._grown() > self._most:
                    self._ask_tcp()
            elif grown > CHANGE and not self._budget.held:
                self._trimmer.look()
            elif len(self._whole) > self._most_known:
                self._missing()
        finally:
            self._again()

    def _other(self) -> int:
        """Bytes in memory that are not accounted for."""
        return memory() - self._budget.held

    def _grown(self) -> int:
        """By how many of them there are more than at rest."""
        other = self._other()
        self._rest = min(self._rest, other)
        return other - self._rest

    def _ask_tcp(self) -> None:
        """End the connections with the most bytes of half messages, until the rest of them is within the limit."""
        missing, now = self._missing(), monotonic()
        if missing is None:
            return
        if now >= self._freed_at:
            self._leaving = 0
        known = sum(missing.values()) + self._leaving
        self._rest = max(self._rest, self._other() - known)  # it has grown for another reason
        over = self._grown() - self._most
        for address, size in sorted(missing.items(), key=lambda item: -item[1]):
            if over <= 0:
                return
            over -= size
            self._leaving += size
            self._freed_at = now + FREED_S
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
        missing = {address: size - whole.get(address, ("", 0))[1] for address, size in received.items()}
        return {address: size for address, size in missing.items() if size > SMALL}
