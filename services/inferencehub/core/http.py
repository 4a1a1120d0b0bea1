"""An HTTP server inside a running event loop: uvicorn, without its signal handlers and with an end of our own.

uvicorn closes its listening socket as soon as it is told to stop. Who drains first keeps serving, says so on every
answer, and only then calls `stop`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inferencehub.core.http1.server import listen


class HttpServer:
    """One ASGI application on one port.

    Args:
        app: the application.
        port: 0 takes a free one; `port` tells which once it was started.
        protocol: the connection class.
        keep_alive_s: seconds for which an idle connection is kept; longer than whatever is in front keeps it.
    """

    def __init__(
        self,
        app: ASGI3Application,
        port: int,
        protocol: type[HttpToolsProtocol] = HttpToolsProtocol,
        keep_alive_s: int = 75,
    ) -> None:
        self.port = port
        self._config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody here reads the caller's address
            timeout_keep_alive=keep_alive_s,
        )
        self._server = uvicorn.Server(self._config)
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: where the port is taken.
        """
        sock = listen(self.port)
        self.port = sock.getsockname()[1]
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[sock])
        self._loop = asyncio.get_running_loop().create_task(self._server.main_loop())
        self._sock = sock

    @property
    def connections(self) -> list[Any]:
        """The connections that are open."""
        return list(self._server.server_state.connections)

    async def stop(self, grace_s: float) -> None:
        """Stop listening, and let requests end that run, `grace_s` seconds at most; closes what is idle by then."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        self._config.timeout_graceful_shutdown = round(grace_s)
        self._server.should_exit = True
        await loop
        await self._accept_the_last()
        await self._server.shutdown(sockets=[self._sock])

    async def _accept_the_last(self) -> None:
        """Take the connections that the kernel has made already: to close the socket would break them off."""
        loop, server = asyncio.get_running_loop(), self._server
        with self._sock.dup() as last:
            for listening in server.servers:
                listening.close()
            await asyncio.sleep(0)
            made = []
            with suppress(BlockingIOError):
                while True:
                    made.append(last.accept()[0])
        protocol: Any = self._config.http_protocol_class
        make = partial(protocol, config=self._config, server_state=server.server_state, app_state={})
        for connection in made:
            await loop.connect_accepted_socket(make, connection)
