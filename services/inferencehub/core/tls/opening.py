"""A connection whose TLS handshake is under way.

It counts as a connection from its first moment, so callers who never end a handshake are as limited as all others. A
server that ends waits for it as for a request. A handshake that fails is a line in the log, because a client that is
refused often sees only that the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

logger = logging.getLogger(__name__)

LOG_EVERY_S = 1.0


class Opened(Protocol):
    """A connection that speaks through TLS."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.BaseProtocol`."""

    def shutdown(self) -> None:
        """End after the request that runs."""


@dataclass(eq=False)
class Handshakes:
    """What the handshakes of a server share.

    Args:
        context: its certificate and rules.
        within_s: the longest time for a handshake, in seconds.
        farewell_s: how long the end of a connection waits for the caller's "close notify", in seconds.
        most: connections that are open at a time, those with a handshake under way included; others are closed at once.
    """

    context: ssl.SSLContext
    within_s: float
    farewell_s: float
    most: int
    _logged: float = field(default=float("-inf"), init=False)
    _silent: int = field(default=0, init=False)

    def failed(self, error: Exception, peer: object) -> None:
        """Write a line about a handshake, at most one in `LOG_EVERY_S`; it counts those before it that had none."""
        now = monotonic()
        if now - self._logged < LOG_EVERY_S:
            self._silent += 1
            return
        reason = (
            getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error) or "no answer"
        )
        address = peer[0] if isinstance(peer, tuple) else ""
        extra = {"address": address, "reason": reason, **({"more": self._silent} if self._silent else {})}
        logger.warning("a TLS handshake failed", extra=extra)
        self._logged, self._silent = now, 0


class Opening(asyncio.Protocol):
    """Makes TLS of a TCP connection that was accepted, and hands it on.

    Args:
        handshakes: what those of the server share.
        connections: the server's open connections; this is one of them until the handshake has ended.
        make: makes the object that speaks through TLS.
    """

    def __init__(self, handshakes: Handshakes, connections: set[Any], make: Callable[[], Opened]) -> None:
        self._handshakes = handshakes
        self._connections = connections
        self._make = make
        self._transport: Any = None
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake; if there are too many connections, close this one."""
        if len(self._connections) >= self._handshakes.most:
            transport.abort()
            return
        transport.pause_reading()  # what comes is for TLS, which begins in a moment
        self._transport = transport
        self._connections.add(self)
        self._task = asyncio.get_running_loop().create_task(self._open(transport))

    def shutdown(self) -> None:
        """End after the first request."""
        self._ending = True

    def cut_off(self) -> None:
        """Close at once."""
        self._transport.abort()

    async def _open(self, transport: Any) -> None:
        shared, connection = self._handshakes, self._make()
        try:
            tls = await asyncio.get_running_loop().start_tls(
                transport, connection, shared.context, server_side=True,  # type: ignore[arg-type]
                ssl_handshake_timeout=shared.within_s, ssl_shutdown_timeout=shared.farewell_s,
            )  # fmt: skip
        except (OSError, TimeoutError) as error:
            shared.failed(error, transport.get_extra_info("peername"))
            transport.abort()
            return
        finally:
            self._connections.discard(self)
        connection.connection_made(tls)
        if self._ending:
            connection.shutdown()
