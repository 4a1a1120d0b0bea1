"""An HTTP server inside a running event loop: uvicorn without its signal handlers, and with our own way to stop.

uvicorn keeps the set of connections and the date, and waits for the connections at the end. The listening socket is our
own: uvicorn would close it as soon as it is told to end, and a process that drains keeps serving first, and then calls
`stop`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import uvicorn

from inferencehub.core.http1.connection import Connection
from inferencehub.core.http1.handler import Budget, Handler
from inferencehub.core.http1.limits import Limits, Serving
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.connection import TlsConnection
from inferencehub.core.tls.handshakes import Handshakes

BACKLOG = 2048


def listen(port: int) -> socket.socket:
    """A listening socket on all addresses, for IPv6 and IPv4 if the machine has both; port 0 takes any free port."""
    if socket.has_dualstack_ipv6():
        sock = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    else:
        sock = socket.create_server(("", port), backlog=BACKLOG)
    # Accepted sockets inherit this option. asyncio sets it only on sockets that were made with proto TCP, and this one
    # was not. Without the option, an answer in two writes could wait 40 ms for the other side's ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class HttpServer:
    """One handler on one port.

    Args:
        handler: answers the requests.
        port: 0 takes any free port; after `start`, the attribute `port` has the port in use.
        limits: limits on what callers use.
        budget: the process's budget of bytes; its `relieve` may be set to `unread.relieve`.
        tls: the certificate for HTTPS.
    """

    def __init__(
        self, handler: Handler, port: int, limits: Limits, budget: Budget, tls: Certificate | None = None
    ) -> None:
        self.port = port
        self._serving = serving = Serving(handler, limits, budget)
        self.unread = serving.unread
        self._config = uvicorn.Config(
            handler,  # type: ignore[arg-type]  # no ASGI application: the connection knows whom to ask
            http=cast(Any, Connection),
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(self._config)
        state = self._server.server_state
        make = partial(Connection, serving, state)
        self._make: Callable[[], Connection | TlsConnection] = make
        if tls is not None:
            connections: Any = state.connections
            shared = Handshakes(tls, limits.header_timeout_s, limits.max_connections, connections, make)
            self._make = partial(TlsConnection, shared)
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: if the port is taken.
        """
        sock = listen(self.port)
        self.port = sock.getsockname()[1]
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[])
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._make, sock=sock, backlog=BACKLOG)
        self._loop = loop.create_task(self._server.main_loop())
        self._sock = sock

    @property
    def connections(self) -> list[Connection | TlsConnection]:
        """The connections that are open."""
        connections: Any = self._server.server_state.connections
        return list(connections)

    def open(self) -> int:
        """The number of open connections."""
        return len(self._server.server_state.connections)

    def carried(self) -> tuple[int, int]:
        """Bytes that were received and sent since the start, without those that TLS adds."""
        return self._serving.received, self._serving.sent

    async def stop(self, grace_s: float) -> None:
        """Stop listening, close idle connections, and wait at most `grace_s` seconds for requests that run."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        self._config.timeout_graceful_shutdown = round(grace_s)
        loop.cancel()  # it renews the date, and would look ten times a second whether to end
        await asyncio.wait([loop])
        await self._accept_the_last()
        if self.open():
            await self._server.shutdown(sockets=[self._sock])
        self._sock.close()

    def renew(self) -> None:
        """Close each connection after its next answer, or at once if no request runs; callers may open others."""
        for connection in self.connections:
            connection.shutdown()

    def cut_off(self) -> None:
        """Close the connections that are left after `stop`; the handler may answer requests that still run."""
        for connection in self.connections:
            connection.cut_off()

    async def _accept_the_last(self) -> None:
        """Accept the connections that the kernel has already made: closing the socket would reset them."""
        loop = asyncio.get_running_loop()
        with self._sock.dup() as last:
            self._listening.close()
            await asyncio.sleep(0)
            made = []
            with suppress(BlockingIOError):
                while True:
                    made.append(last.accept()[0])
        for connection in made:
            await loop.connect_accepted_socket(self._make, connection)
