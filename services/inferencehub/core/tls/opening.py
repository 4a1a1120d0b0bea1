"""Connections whose TLS handshake is under way.

Each counts as a connection from its first moment, so callers who never end a handshake are as limited as all others. A
server that ends waits for them as for requests. A handshake that fails is a line in the log, because a client that is
refused often sees only that the connection is closed.

An event loop's own server does none of this, and tells nobody of a failure; so the sockets are accepted here. (To turn a
connection that was accepted in plain into TLS loses what comes first, under uvloop.)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

logger = logging.getLogger(__name__)

LOG_EVERY_S = 1.0
BREATH_S = 1.0  # the pause after the machine had no file or memory for another connection
TURN = 64  # connections that are accepted before others have their turn


class Opened(Protocol):
    """The protocol of a connection, which speaks through TLS."""

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
        connections: the open connections of the server; one whose handshake is under way is an `Opening`.
        make: makes the protocol of a connection.
    """

    context: ssl.SSLContext
    within_s: float
    farewell_s: float
    most: int
    connections: set[Any]
    make: Callable[[], Any]
    _logged: float = field(default=float("-inf"), init=False)
    _silent: int = field(default=0, init=False)

    def take(self, sock: socket.socket) -> None:
        """Begin the handshake of a connection that was accepted; if there are too many, close it."""
        if len(self.connections) >= self.most:
            sock.close()
        else:
            Opening(self, sock)

    def failed(self, error: Exception, peer: str) -> None:
        """Write a line about a handshake, at most one in `LOG_EVERY_S`; it counts those before it that had none."""
        now = monotonic()
        if now - self._logged < LOG_EVERY_S:
            self._silent += 1
            return
        reason = (
            getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error) or "no answer"
        )
        extra = {"address": peer, "reason": reason, **({"more": self._silent} if self._silent else {})}
        logger.warning("a TLS handshake failed", extra=extra)
        self._logged, self._silent = now, 0


class Opening:
    """One connection whose handshake is under way; its methods are those of a connection that uvicorn calls."""

    def __init__(self, handshakes: Handshakes, sock: socket.socket) -> None:
        self._handshakes = handshakes
        self._ending = False
        handshakes.connections.add(self)
        self._task = asyncio.get_running_loop().create_task(self._open(sock))

    def shutdown(self) -> None:
        """End after the first request."""
        self._ending = True

    def cut_off(self) -> None:
        """Close at once."""
        self._task.cancel()

    async def _open(self, sock: socket.socket) -> None:
        shared, peer = self._handshakes, ""
        try:
            peer = sock.getpeername()[0]
            _, connection = await asyncio.get_running_loop().connect_accepted_socket(
                shared.make, sock, ssl=shared.context,
                ssl_handshake_timeout=shared.within_s, ssl_shutdown_timeout=shared.farewell_s,
            )  # fmt: skip
        except OSError as error:  # TimeoutError is one
            sock.close()
            shared.failed(error, peer)
            return
        finally:
            shared.connections.discard(self)
        if self._ending:
            opened: Opened = connection
            opened.shutdown()


class Listener:
    """Accepts the connections of a socket that listens.

    Args:
        sock: it stays open.
        handshakes: takes them.
    """

    def __init__(self, sock: socket.socket, handshakes: Handshakes) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._handshakes = handshakes
        self._closed = False
        sock.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        self._loop.remove_reader(self._sock)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(TURN):
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("no connection can be accepted", extra={"reason": str(error)})
                self._loop.remove_reader(self._sock)
                self._loop.call_later(BREATH_S, self._listen)
                return
            self._handshakes.take(accepted)
