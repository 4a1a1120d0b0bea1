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

from starlette.routing import Router

from inferencehub.core.http1.asgi import AsgiHandler
from inferencehub.core.http1.limits import Limits, allowed_connections
from inferencehub.core.http1.server import HttpServer
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.ops_port import ops_server
from inferencehub.gateway.calls.stages import LoadShedding, Memory
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.cors import Cors
from inferencehub.gateway.http_api.edge import Edge
from inferencehub.gateway.http_api.metadata import Metadata
from inferencehub.gateway.http_api.page import pages_with_errors
from inferencehub.gateway.http_api.routes import endpoints, pages
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routing.collector import RoutingCollector
from inferencehub.gateway.routing.demand import Demand
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.unknown_models import UnknownModels
from inferencehub.gateway.settings import GatewaySettings

logger = logging.getLogger(__name__)


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
        self.metrics = Metrics(access)
        self.bytes_held = ByteBudget(settings.queue_bytes)
        self.fleet = Fleet(settings)
        self.table = RoutingTable(self.fleet, self.bytes_held, self.metrics.lane)
        self.unknown = UnknownModels(self.fleet, self.table)
        self.demand = Demand(self.fleet, self.table, self.unknown)
        self.metrics.registry.register(RoutingCollector(self.fleet, self.table, self.bytes_held))
        self.metrics.registry.register(self.demand)
        self.edge = self._make_edge()
        self.http = HttpServer(self.edge, settings.port, self._limits(), self.bytes_held)
        self.bytes_held.relieve = self.http.unread.relieve
        self.ops = ops_server(
            settings.ops_port, self.metrics.registry, self.not_ready, {"/demand": self.demand.page}
        )

    def _make_edge(self) -> Edge:
        """What answers callers."""
        settings = self.settings
        stages = [Memory(self.bytes_held), LoadShedding()]
        calls = self.calls = Calls(self.table, self.unknown, settings, stages)
        metadata = Metadata(self.fleet, self.table, self.unknown, self.not_ready)
        self.routes = pages(metadata)
        app = pages_with_errors(Router(self.routes, redirect_slashes=False))
        return Edge(
            endpoints(calls),
            AsgiHandler(app, settings.max_body_bytes),
            calls,
            self.metrics,
            self.access,
            Cors(settings.cors_origins) if settings.cors_origins else None,
            settings.max_body_bytes,
        )

    def _limits(self) -> Limits:
        """What callers may take of time and connections."""
        settings = self.settings
        return Limits(
            header_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            keep_alive_s=settings.keep_alive_s,
            max_connections=settings.max_connections or allowed_connections(),
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
        self.draining = self.edge.draining = True
        logger.info("draining", extra={"seconds": self.settings.drain_wait_s})
        await asyncio.sleep(self.settings.drain_wait_s)

    async def stop(self) -> None:
        """End: no new connections, requests that run are waited for, backends let go."""
        self.draining = self.edge.draining = True
        await self.http.stop(self.settings.drain_timeout_s)
        await self.demand.stop()
        self.http.cut_off()
        await self.fleet.stop()
        await self.ops.stop(1)
        if self.access is not None:
            await self.access.close()
        logger.info("stopped")
