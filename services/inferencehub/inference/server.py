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

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip import messages
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.ops_port import Answer, Asked, ops_server
from inferencehub.core.values.errors import listed
from inferencehub.inference.grpc_api.health import OPEN, READY, STARTED, Health
from inferencehub.inference.grpc_api.servicer import PREDICT_SERVICE, Servicer, handlers
from inferencehub.inference.metrics import Metrics
from inferencehub.inference.models.registry import Models
from inferencehub.inference.runtimes.runtime import ProcessRules
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb._pool import POOL

logger = logging.getLogger(__name__)

LOAD_END_S = (
    0.5  # a cancelled load ends its processes within this time; a thread inside a library may never end
)


class InferenceServer:
    """One process of the inference tier.

    Args:
        settings: the service's settings.
        access: the access log; None if access lines are off.

    Raises:
        SettingError: if there is no model repository.
    """

    def __init__(self, settings: InferenceSettings, access: AccessLog | None = None) -> None:
        self.settings = settings
        self.access = access
        self.port = settings.port
        self.draining = False
        self.health = Health()
        self.metrics = Metrics(access)
        self.models = Models(
            settings.repository(),
            ByteBudget(settings.queue_bytes),
            self.metrics,
            self._show_health,
            ProcessRules(settings.model_grace_s, settings.max_message_bytes, settings.model_env),
        )
        self.servicer = Servicer(self.models, settings, access)
        self.models.bytes_held.relieve = self.servicer.streams.relieve
        self.servicer.queries.ready = lambda: not self.not_ready()
        self.ops = ops_server(
            settings.ops_port, self.metrics.registry, self.not_ready, {"/address": self.address}
        )
        self._server = grpc.aio.server(options=server_options(settings.max_message_bytes))
        self._loading: asyncio.Task[None] | None = None

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
        # For registered methods, grpc.aio does extra work in every call. The generic handlers contain all methods, so
        # registration is switched off.
        self._server.add_registered_method_handlers = lambda *_: None  # type: ignore[method-assign]
        self._server.add_generic_rpc_handlers(handlers(self.servicer))
        self._server.add_generic_rpc_handlers([self.health.handlers()])
        POOL.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)
        names = (messages.SERVICE, PREDICT_SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=POOL)
        try:
            self.port = self._server.add_insecure_port(f"[::]:{self.settings.port}")
        except RuntimeError:
            raise OSError(f"port {self.settings.port} is taken") from None
        await self._server.start()
        self._loading = asyncio.get_running_loop().create_task(self.models.load())
        ports = {
            "port": self.port,
            "stream_port": self.servicer.streams.port,
            "ops_port": self.ops.port,
        }
        logger.info("listening", extra=ports)

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
        if not required and self.settings.ready_after == "all" and not self.models.loaded:
            return "models are being loaded"
        if not required and not any(model.serves for model in self.models):
            return "no model serves" if self.models.loaded else "models are being loaded"
        return ""

    def _show_health(self) -> None:
        ready = not self.not_ready()
        models = {name: self.models.serves(name) and not self.draining for name in self.models.names()}
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
        grace_s = self.settings.drain_timeout_s
        await asyncio.gather(self._server.stop(grace_s), self.servicer.streams.stop(grace_s))
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait([self._loading], timeout=LOAD_END_S)
        await self.models.unload()
        await self.ops.stop(1)
        if self.access is not None:
            await self.access.close()
        logger.info("stopped")


def server_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """gRPC options of a pod's server.

    A request of up to twice `max_message_bytes` is read, so that it can be refused with a sentence.

    Clients may ping every 10 s, even without an open call. Gateways do that to notice a node that has vanished.
    """
    return [
        ("grpc.max_receive_message_length", min(2 * max_message_bytes, 2**31 - 1)),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
