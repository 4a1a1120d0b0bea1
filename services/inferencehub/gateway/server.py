"""The life of a gateway, to be read from top to bottom: start, serve, drain, stop.

start   look for backends, listen; ready at once, for it can hold requests while no pod serves
serve
drain   say "not ready", close each connection with its next answer, and serve on for `drain_wait_s`, until load
        balancers have seen it
stop    stop listening, wait for the requests that run, `drain_timeout_s` at most, then let the backends go
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Router

from inferencehub.core.http import HttpServer
from inferencehub.core.logs import AccessLog
from inferencehub.core.ops import ops_server
from inferencehub.gateway.border import Border
from inferencehub.gateway.connection import connection_class
from inferencehub.gateway.demand import Demand
from inferencehub.gateway.describe import Describe
from inferencehub.gateway.direct import ShortWay
from inferencehub.gateway.fleet import Fleet
from inferencehub.gateway.infer import Calls, predict_error
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routes import routes, short_routes
from inferencehub.gateway.settings import GatewaySettings

logger = logging.getLogger(__name__)

CORS_HEADERS = ("x-request-id", "x-request-timeout-ms", "content-type", "inference-header-content-length")
CORS_SHOWN = (
    "x-request-id",
    "server-timing",
    "x-served-by",
    "retry-after",
    "inference-header-content-length",
)


class Gateway:
    """One process of the gateway tier.

    Args:
        settings: its settings.
        access: where access lines go; None for nowhere.
    """

    def __init__(self, settings: GatewaySettings, access: AccessLog | None = None) -> None:
        self.settings = settings
        self.access = access
        self.started = False
        self.draining = False
        self.metrics = Metrics()
        self.fleet = Fleet(settings, self.metrics.lane)
        self.metrics.watch(self.fleet)
        self.demand = Demand(self.fleet)
        self.metrics.registry.register(self.demand)
        calls, describe = Calls(self.fleet, settings), Describe(self.fleet, self.not_ready)
        self.routes = routes(calls, describe)
        router = Router(self.routes, redirect_slashes=False)
        shapes = {"/predict": predict_error}
        border = Border(router, self.metrics, access, lambda: self.draining, self.fleet.bytes_held, shapes)
        app: Any = border
        if settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=CORS_HEADERS,
                expose_headers=CORS_SHOWN,
            )
        short_way = ShortWay(
            border, short_routes(calls), bool(settings.cors_origins), settings.max_body_bytes
        )
        connection = connection_class(settings.header_timeout_s, settings.body_timeout_s, short_way)
        self.http = HttpServer(app, settings.port, connection)
        self.ops = ops_server(
            settings.ops_port, self.metrics.registry, self.not_ready, {"/demand": self.demand.page}
        )

    @property
    def port(self) -> int:
        """The port that callers use."""
        return self.http.port

    def not_ready(self) -> str:
        """ "" while the gateway takes requests, else why it does not."""
        return "it is draining" if self.draining else "" if self.started else "it is starting"

    async def start(self) -> None:
        """Look for backends and listen.

        Raises:
            OSError: where a port is taken.
        """
        await self.ops.start()
        await self.fleet.start()
        self.demand.start()
        await self.http.start()
        self.started = True
        logger.info("listening", extra={"port": self.http.port, "ops_port": self.ops.port})

    async def drain(self) -> None:
        """Say "not ready" and serve on until load balancers have seen it."""
        self.draining = True
        logger.info("draining", extra={"seconds": self.settings.drain_wait_s})
        await asyncio.sleep(self.settings.drain_wait_s)

    async def stop(self) -> None:
        """End: no new connections, requests that run are waited for, backends let go."""
        self.draining = True
        await self.http.stop(self.settings.drain_timeout_s)
        await self.demand.stop()
        for connection in self.http.connections:
            connection.cut_off()
        await self.fleet.stop()
        await self.ops.stop(1)
        if self.access is not None:
            self.access.flush()
        logger.info("stopped")
