"""The life of a gateway, from start to stop.

start   look for pods and listen; the gateway is ready at once, because it can hold requests while no pod serves
serve   answer requests
drain   report "not ready", close each HTTP connection after its next answer, and keep serving for `drain_wait_s`
        seconds, so that load balancers notice
stop    stop listening, tell callers of gRPC to go elsewhere, wait at most `drain_timeout_s` seconds for requests that run, then disconnect from the pods
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.routing import Router

from inferencehub.core.http1.asgi import AsgiHandler
from inferencehub.core.http1.server import HttpServer
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip.admin.log_settings import LogSettings
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.metrics import Reloads
from inferencehub.core.process.ops_port import OpsServer
from inferencehub.core.tls.certificate import Contents
from inferencehub.gateway.calls.callers import Callers
from inferencehub.gateway.calls.forwarded import ForwardedHeaders
from inferencehub.gateway.calls.stages import Headers, LoadShedding, Memory, Stage
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.calls.traces.tracing import Tracing
from inferencehub.gateway.console.console import Console
from inferencehub.gateway.grpc_api.metadata import Metadata as GrpcMetadata
from inferencehub.gateway.grpc_api.port import GrpcPort
from inferencehub.gateway.http_api.cors import Cors
from inferencehub.gateway.http_api.edge import Edge
from inferencehub.gateway.http_api.jobs.pages import absent as no_jobs
from inferencehub.gateway.http_api.metadata import Metadata
from inferencehub.gateway.http_api.page import CONSOLE, pages_with_errors
from inferencehub.gateway.http_api.recording.recording import Recording
from inferencehub.gateway.http_api.routes import endpoints, pages, route_finder
from inferencehub.gateway.http_api.v1.models import ModelPagesV1
from inferencehub.gateway.http_api.v2.control import ControlPages
from inferencehub.gateway.http_api.v2.models import ModelPages
from inferencehub.gateway.http_api.v2.settings import SettingPages, absent
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routing.collector import RoutingCollector
from inferencehub.gateway.routing.control.control import ModelControl
from inferencehub.gateway.routing.demand import Demand
from inferencehub.gateway.routing.doctor.checks import doctor_of
from inferencehub.gateway.routing.doctor.wishes import WishedModels
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.model_queries import ModelQueries
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.traffic.traffic import Traffic
from inferencehub.gateway.routing.unknown_models import UnknownModels
from inferencehub.gateway.settings.gateway import GatewaySettings

if TYPE_CHECKING:
    from inferencehub.gateway.http_api.jobs.front import JobFront

logger = logging.getLogger(__name__)


class Gateway:
    """One process of the gateway tier.

    Args:
        settings: the gateway's settings.
        access: where access lines go; None to write none.

    Raises:
        BadFile: if a certificate, the file of API keys or of limits, or the folder for recordings can't be used.
    """

    def __init__(self, settings: GatewaySettings, access: AccessLog | None = None) -> None:
        self.settings = settings
        self.access = access
        self.certificate = settings.certificate()
        self.callers = Callers(settings)
        self.started = self.draining = False
        self.metrics = Metrics(access)
        self.tracing = Tracing(settings, self.metrics.traced)
        self.recording = Recording(settings)
        self.bytes_held = ByteBudget(settings.queue_bytes)
        ops_certificate = settings.ops_certificate()
        self.fleet = Fleet(settings, ops_certificate)
        self.table = RoutingTable(self.fleet, self.bytes_held, self.metrics.lane)
        if settings.traffic:
            copy_limit_s = settings.time_limits.default_s
            self.table.traffic = Traffic(settings.traffic, "HUB_TRAFFIC", self.table, copy_limit_s)
        self.unknown = UnknownModels(self.fleet, self.table)
        self.queries = ModelQueries(self.fleet, self.table, self.unknown, self.metrics.statistics)
        self.logs = LogSettings(settings.log_format)
        self.demand = Demand(self.fleet, self.table, self.unknown)
        routing = RoutingCollector(self.fleet, self.table, self.bytes_held)
        for collector in (routing, self.demand, self.callers.peers, self.callers.usage, self.recording):
            self.metrics.registry.register(collector)
        self.edge = self._make_edge()
        secrets = None if self.jobs is None else self.jobs.secrets
        watched = (self.certificate, *self.callers.files, secrets, self.table.traffic)
        self.watched = [one for one in watched if one is not None]
        tiers = [one for one in (self.fleet.certificate, ops_certificate) if one is not None]
        self.metrics.registry.register(Reloads("inferencehub_gateway", *self.watched, *tiers))
        limits = settings.connection_limits()
        front = self.recording.before(self.edge)
        self.http = HttpServer(front, settings.port, limits, self.bytes_held, self.certificate)
        self.grpc = GrpcPort(
            settings,
            limits,
            self.certificate,
            self.callers,
            self.calls,
            GrpcMetadata(self.queries, self.logs, self.serves, self.calls.audit, self.control),
            None if self.jobs is None else self.jobs.jobs,
            self.metrics.grpc,
            access,
        )
        self.metrics.watch(self.http, self.grpc.server.callers, self.grpc.streams)
        self.bytes_held.relieve = self._relieve
        others = {} if self.jobs is None else {"store of jobs": self.jobs.store_check}
        if self.control is not None:
            others["wished models"] = WishedModels(self.control.differences).look
            self.metrics.registry.register(self.control.differences)
        self.doctor = doctor_of(settings, self.table, ops_certificate, [*self.watched, *tiers], others)
        self.ops = OpsServer(
            settings.ops_port,
            self.metrics.registry,
            self.not_ready,
            {"/demand": self.demand.page, "/doctor": self.doctor.page},
            certificate=ops_certificate,
            others={CONSOLE: self.console.ops()},
        )

    def _make_edge(self) -> Edge:
        """The handler that answers callers."""
        settings, callers = self.settings, self.callers
        stages: list[Stage] = [*callers.first(), Memory(self.bytes_held)]
        if settings.forward_headers:
            stages.append(ForwardedHeaders(settings.forward_headers))
        stages += [LoadShedding(), *callers.last()]
        if self.table.traffic is not None:
            stages.append(Headers())
            for collector in (self.table.traffic, self.table.traffic.seconds):
                self.metrics.registry.register(collector)
        calls = self.calls = Calls(self.table, self.unknown, settings, stages)
        calls.traces = self.tracing.traces
        metadata = Metadata(self.fleet, self.table, self.not_ready, callers.usage)
        log_settings = SettingPages(self.logs, self.queries)
        self.jobs = self._make_jobs() if settings.jobs else None
        models, models_v1 = ModelPages(self.queries), ModelPagesV1(self.queries)
        self.control: ModelControl | None = None
        if settings.model_loads and self.jobs is not None:
            self.control = ModelControl(self.table, self.jobs.jobs.store.wishes)
        control_pages = ControlPages(self.control)
        job_pages = no_jobs() if self.jobs is None else self.jobs.routes
        self.console = Console(self, calls, self.demand, self.metrics, callers.peers, self.jobs)
        shown = pages(metadata, models, models_v1, log_settings, control_pages, job_pages)
        self.routes = [*shown, *self.console.routes()]
        app = pages_with_errors(Router([*self.routes, *absent()], redirect_slashes=False), calls.audit)
        edge = Edge(
            endpoints(calls) if self.jobs is None else endpoints(calls, others=self.jobs.events),
            AsgiHandler(app, settings.max_body_bytes),
            calls,
            self.metrics.http,
            self.access,
            Cors(settings.cors_origins, settings.cors_credentials, settings.forward_headers)
            if settings.cors_origins
            else None,
            settings.max_body_bytes,
            callers.counted,
        )
        edge.deferral = None if self.jobs is None else self.jobs.deferral
        return edge

    def _make_jobs(self) -> JobFront:
        """The jobs, whose modules only those load who have some."""
        from inferencehub.gateway.grpc_api.jobs.request import MARK
        from inferencehub.gateway.grpc_api.jobs.runs import JobRuns
        from inferencehub.gateway.http_api.jobs.front import JobFront
        from inferencehub.gateway.http_api.openai_batches.front import with_batches

        settings, metrics = self.settings, self.metrics
        front = JobFront(settings, self.calls, self.callers.call_limits, self.demand, metrics, self.access)
        front.fronts.add(MARK, JobRuns(front.calls, metrics.jobs, self.access, settings.max_body_bytes))
        return with_batches(front, self.calls, settings, metrics.jobs)

    def _relieve(self, fits: Callable[[], bool]) -> None:
        """Make room in the budget until `fits()` is true: end connections that do not read their answers."""
        self.http.unread.relieve(fits)
        self.grpc.server.callers.unread.relieve(fits)

    @property
    def port(self) -> int:
        """The port that callers use."""
        return self.http.port

    def not_ready(self) -> str:
        """ "" while the gateway accepts requests, else the reason why it does not."""
        return "it is draining" if self.draining else "" if self.started else "it is starting"

    def serves(self) -> bool:
        """Whether the gateway accepts requests, and a pod serves or a request would start one."""
        return not self.not_ready() and self.fleet.serves

    async def start(self) -> None:
        """Look for pods and listen.

        Raises:
            OSError: if a port is taken.
        """
        if self.certificate is not None:
            self.certificate.changed = self._renew
        for one in self.watched:
            one.start()
        self.callers.start()
        self.tracing.start(route_finder(self.routes))
        self.recording.start()
        await self.ops.start()
        await self.fleet.start()
        self.demand.start()
        if self.jobs is not None:
            await self.jobs.start()
        if self.control is not None:
            self.control.start()
        await self.grpc.start()
        await self.http.start()
        self.started = True
        self.grpc.show_health()
        ports = {"port": self.http.port, "grpc_port": self.grpc.port, "ops_port": self.ops.port}
        logger.info("listening", extra=ports)

    def _renew(self, before: Contents) -> None:
        """Let callers show their certificates again, if those who signed them may not be trusted any more.

        Answers that run are given; connections of gRPC end at their age.
        """
        if self.certificate is not None and before.authorities != self.certificate.contents.authorities:
            self.http.renew()
            self.grpc.streams.renew()

    async def drain(self) -> None:
        """Report "not ready", and keep serving until load balancers have noticed."""
        self.draining = self.edge.draining = True
        self.console.end()
        self.grpc.show_health()
        logger.info("draining", extra={"seconds": self.settings.drain_wait_s})
        await asyncio.sleep(self.settings.drain_wait_s)

    async def stop(self) -> None:
        """Accept no more connections, wait for the requests that run, then disconnect from the pods."""
        self.draining = self.edge.draining = True
        self.console.end()
        grace_s = self.settings.drain_timeout_s
        with_store = [one.stop(grace_s) for one in (self.jobs, self.control) if one is not None]
        await asyncio.gather(self.http.stop(grace_s), self.grpc.stop(grace_s), *with_store)
        if self.jobs is not None:
            await self.jobs.close()
        await self.demand.stop()
        self.http.cut_off()
        self.edge.threads.shutdown(wait=False, cancel_futures=True)
        for one in self.watched:
            await one.stop()
        await self.callers.stop()
        await self.fleet.stop()
        await self.tracing.stop()
        await self.recording.stop()
        await self.ops.stop(1)
        await self.doctor.stop()
        if self.access is not None:
            await self.access.close()
        logger.info("stopped")
