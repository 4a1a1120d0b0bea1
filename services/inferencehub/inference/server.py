"""The life of the inference service. Read it from top to bottom: start, serve, drain, stop.

    start   listen (only the liveness probe succeeds yet), then load and warm up the models in the background
    serve   report SERVING once loading has ended and the required models serve
    drain   report NOT_SERVING; keep serving for `drain_wait_s`, until every caller has noticed it
    stop    end health watches, refuse new calls, wait for running calls (at most `drain_timeout_s`), unload the models;
            the pod ends a gateway's standing stream when no call runs on it any more

A drain may begin at any time, even while models load. Parts are stopped in the reverse order of their start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.grpc_server.admitting import Admitting
from inferencehub.core.grpc_server.credentials import server_credentials
from inferencehub.core.grpc_server.health import LONGEST, Health
from inferencehub.core.grpc_server.health import SERVICE as HEALTH
from inferencehub.core.grpc_server.reflection import reflection_handlers
from inferencehub.core.grpc_server.server import GrpcServer, options
from inferencehub.core.grpc_server.streams.infer_streams import InferStreams
from inferencehub.core.http1.limits import Limits
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip import messages
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.metrics import Reloads, Traffic
from inferencehub.core.process.ops_port import Answer, Asked, OpsServer
from inferencehub.core.tls.certificate import Contents
from inferencehub.core.values.errors import listed
from inferencehub.inference.doctor.checks import doctor_of
from inferencehub.inference.grpc_api.admission import Admission
from inferencehub.inference.grpc_api.health import AT_START, OPEN, READY, STARTED, Listed
from inferencehub.inference.grpc_api.servicer import PREDICT_SERVICE, Servicer, handlers
from inferencehub.inference.grpc_api.streamed_calls import MOST_WAITING, StreamedCalls
from inferencehub.inference.grpc_api.streams import HANDSHAKE_S
from inferencehub.inference.metrics import Metrics
from inferencehub.inference.models.control.choice import control_of
from inferencehub.inference.models.control.control import Control, started
from inferencehub.inference.models.registry import Models
from inferencehub.inference.runtimes.calling.client import GatewayClient
from inferencehub.inference.runtimes.calling.key import GatewayKey
from inferencehub.inference.runtimes.runtime import ProcessRules
from inferencehub.inference.settings import InferenceSettings

logger = logging.getLogger(__name__)

STREAM_S = (
    300.0  # how long a stream of a direct caller may last, whose certificate may have expired meanwhile
)
TRUSTED_S = 5.0  # how long a TLS connection of gRPC takes calls; the next one shows its certificate again
LOAD_END_S = (
    0.5  # a cancelled load ends its processes within this time; a thread inside a library may never end
)


class InferenceServer:
    """One process of the inference tier.

    Args:
        settings: the service's settings.
        access: the access log; None if access lines are off.
        control: makes who decides which models are served.

    Raises:
        SettingError: if there is no model repository.
        BadFile: if a certificate, or the file of API keys, can't be used.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        access: AccessLog | None = None,
        control: Callable[[InferenceSettings, Models], Control] = control_of,
    ) -> None:
        self.settings = settings
        self.access = access
        self.draining = False
        self._shown: set[str] = set()  # the models whose health is shown
        self.health = Health(AT_START)
        self.metrics = Metrics(access)
        bytes_held = ByteBudget(settings.queue_bytes)
        self.gateway_key = GatewayKey(settings.gateway_key) if settings.gateway_key else None
        self.gateway_certificate = settings.gateway_certificate()
        self.gateway = None
        if settings.gateway:
            shown = (self.gateway_key, self.gateway_certificate)
            self.gateway = GatewayClient(settings.gateway, settings.max_message_bytes, bytes_held, *shown)
        rules = ProcessRules.of(settings, self.gateway)
        self.models = Models(settings.repository(), bytes_held, self.metrics, self._show_health, rules)
        self.listed = Listed(self.health, self.models)
        self.control = control(settings, self.models)
        self.certificate = settings.tier_certificate(admits=settings.tier_tls_client_names)
        ops_certificate = settings.ops_certificate()
        self.keys = ApiKeys(settings.api_keys, "HUB_API_KEYS") if settings.direct_calls else None
        reloaded = (self.certificate, ops_certificate, self.keys, self.gateway_key, self.gateway_certificate)
        self.metrics.registry.register(Reloads("inferencehub_inference", *reloaded))
        self.doctor = doctor_of(settings, self.models, self.not_ready, reloaded)
        self.admission = Admission(self.certificate, self.keys)
        self.servicer = Servicer(self.models, settings, access, self.admission, self.certificate)
        self.grpc = self._make_grpc()
        self.plain_health = None if self.certificate is None else plain_health_server(settings.health_port)
        self.streams = InferStreams(
            StreamedCalls(self.servicer).answer,
            MOST_WAITING,
            self.models.bytes_held,
            self.grpc.callers,
            self.admission.owner,
            STREAM_S,
        )
        standing = self.servicer.streams
        self.metrics.registry.register(
            Traffic(
                "inferencehub_inference",
                {"gateway": standing.carried, "grpc": self.grpc.callers.carried},
                {"gateway": standing.open},
                {"grpc": self.streams.open},
            )
        )
        self.models.bytes_held.relieve = self._relieve
        self.servicer.queries.control = self.control
        self.servicer.queries.ready = lambda: not self.not_ready()
        self.ops = OpsServer(
            settings.ops_port,
            self.metrics.registry,
            self.not_ready,
            {"/address": self.address, "/doctor": self.doctor.page},
            certificate=ops_certificate,
        )
        self._loading: asyncio.Task[None] | None = None

    def _make_grpc(self) -> GrpcServer:
        """The gRPC port, which speaks TLS if there is a certificate."""
        largest, port, held = self.settings.max_message_bytes, self.settings.port, self.models.bytes_held
        chosen = options(largest, largest)
        if self.certificate is None:
            return GrpcServer(port, chosen, Limits(), held)
        # A connection is trusted as long as it lives. Calls that run when it has lived so long are not cut off.
        chosen += [
            ("grpc.max_connection_age_ms", round(TRUSTED_S * 1000)),
            # gRPC closes a connection for good once a ping is answered; by default it waits a minute for that.
            ("grpc.http2.ping_timeout_ms", round(HANDSHAKE_S * 1000)),
        ]
        limits = Limits(header_timeout_s=HANDSHAKE_S)
        return GrpcServer(port, chosen, limits, held, server_credentials(self.certificate))

    @property
    def port(self) -> int:
        """The port of gRPC."""
        return self.grpc.port

    async def start(self) -> None:
        """Listen, and load the models in the background.

        Raises:
            OSError: if a port is taken.
        """
        if self.settings.serves_samples():
            logger.info(
                "no models were given: serving the samples", extra={"models": str(self.models.repository)}
            )
        await self.ops.start()
        await self.servicer.streams.start(self.settings.stream_port)
        await self._start_grpc()
        if self.gateway is not None:
            self.gateway.start()
        self._loading = asyncio.get_running_loop().create_task(started(self.control))
        ports = {
            "port": self.port,
            "stream_port": self.servicer.streams.port,
            "ops_port": self.ops.port,
        }
        logger.info("listening", extra=ports)

    async def _start_grpc(self) -> None:
        services = (messages.SERVICE, PREDICT_SERVICE, HEALTH)
        served = [
            *handlers(self.servicer, self.streams.handler(), self.grpc.callers),
            self.health.handlers(self.admission.shows),
            *(reflection_handlers(services) if self.settings.reflection else []),
        ]
        if self.certificate is None or self.plain_health is None:
            await self.grpc.start(served)
            return
        self.certificate.changed = self._renew
        self.certificate.start()
        if self.keys is not None:
            self.keys.start()
        await self.grpc.start([Admitting(one, self.admission, self.grpc.callers.half) for one in served])
        await self.plain_health.start([self.health.handlers()])
        logger.info("listening for health in plain", extra={"health_port": self.plain_health.port})

    def _renew(self, before: Contents) -> None:
        """Let streams begin anew if who signed their clients' certificates may not be trusted any more."""
        if self.certificate is not None and before.authorities != self.certificate.contents.authorities:
            self.servicer.streams.renew()
            self.streams.renew()
            # A connection that is older than this change takes calls a while longer, and streams of gRPC are calls.
            older_s = HANDSHAKE_S + 1.1 * TRUSTED_S + HANDSHAKE_S  # from its handshake to its last ping
            asyncio.get_running_loop().call_later(older_s, self.streams.renew)

    def _relieve(self, fits: Callable[[], bool]) -> None:
        """Make room in the budget until `fits()` is true: end what does not come whole or is not read."""
        self.servicer.streams.relieve(fits)
        self.grpc.callers.unread.relieve(fits)

    async def loaded(self) -> None:
        """Wait until all models have been loaded or have failed."""
        if self._loading is not None:
            await asyncio.wait([self._loading])

    def address(self, asked: Asked) -> Answer:
        """GET /address on the ops port: the address of this pod's gRPC port.

        A gateway that reached this pod through a load balancer can then connect to the pod directly.
        """
        host = asked.host.removeprefix("::ffff:")
        return 200, "text/plain", f"{f'[{host}]' if ':' in host else host}:{self.port}".encode()

    def not_ready(self) -> str:
        """Why the process does not accept requests; "" if it does."""
        if self.draining:
            return "it is draining"
        required = self.settings.required_models
        missing = [name for name in required if not self.models.serves(name)]
        if missing:
            return f"required models do not serve: {listed(missing)}"
        if not required and self.settings.model_control == "explicit":  # it waits for calls that load models
            return "" if self.models.loaded else "models are being loaded"
        if not required and self.settings.ready_after == "all" and not self.models.loaded:
            return "models are being loaded"
        if not required and not any(model.serves for model in self.models):
            return "no model serves" if self.models.loaded else "models are being loaded"
        return ""

    def _show_health(self) -> None:
        ready = not self.not_ready()
        models = {name: self.models.serves(name) and not self.draining for name in self.models.names()}
        self.health.forget(self._shown - models.keys())
        self._shown = set(models)
        self.listed.look()
        self.health.set(
            {
                **models,
                "": ready,
                READY: ready,
                STARTED: self.models.scanned,
                OPEN: self.models.scanned and not self.draining,
            }
        )

    async def drain(self) -> None:
        """Report NOT_SERVING, and keep serving until callers have noticed it."""
        self.draining = True
        self._show_health()
        logger.info("draining", extra={"seconds": self.settings.drain_wait_s})
        await asyncio.sleep(self.settings.drain_wait_s)

    async def stop(self) -> None:
        """Refuse new calls, wait for the running ones, and unload the models."""
        self.health.end()
        self.streams.end()
        grace_s = self.settings.drain_timeout_s
        await asyncio.gather(self.grpc.stop(grace_s), self.servicer.streams.stop(grace_s))
        if self.plain_health is not None:
            await self.plain_health.stop(0)
        if self.certificate is not None:
            await self.certificate.stop()
        if self.keys is not None:
            await self.keys.stop()
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait([self._loading], timeout=LOAD_END_S)
        await self.control.stop()
        if self.gateway is not None:
            await self.gateway.close()
        await self.ops.stop(1)
        await self.doctor.stop()
        if self.access is not None:
            await self.access.close()
        logger.info("stopped")


def plain_health_server(port: int) -> GrpcServer:
    """A gRPC port for probes alone: it takes small messages, and connections for some seconds."""
    few = (
        ("grpc.max_allowed_incoming_connections", 1000),
        ("grpc.max_concurrent_streams", 16),
        ("grpc.max_connection_age_ms", round(TRUSTED_S * 1000)),
        ("grpc.max_connection_age_grace_ms", round(TRUSTED_S * 1000)),
    )
    return GrpcServer(port, [*options(LONGEST, LONGEST), *few], Limits(), ByteBudget(64 * LONGEST))
