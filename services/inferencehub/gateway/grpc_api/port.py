"""The gateway's gRPC port: which methods it has, and its start, drain and end."""

from __future__ import annotations

import asyncio
from time import monotonic

import grpc
from google.protobuf.message import Message

from inferencehub.core.grpc_server import server
from inferencehub.core.grpc_server.actions import action_of
from inferencehub.core.grpc_server.credentials import server_credentials
from inferencehub.core.grpc_server.health import SERVICE as HEALTH
from inferencehub.core.grpc_server.health import Health
from inferencehub.core.grpc_server.reflection import reflection_handlers
from inferencehub.core.grpc_server.server import GrpcServer
from inferencehub.core.grpc_server.streams.infer_streams import InferStreams
from inferencehub.core.http1.limits import Limits
from inferencehub.core.oip.messages import SERVICE
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.tasks import cancelled
from inferencehub.core.tls.certificate import Certificate
from inferencehub.gateway.calls.callers import Callers
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.grpc_api.edge import Edge, Later, Work
from inferencehub.gateway.grpc_api.infer import Infer
from inferencehub.gateway.grpc_api.jobs.deferral import Deferral
from inferencehub.gateway.grpc_api.jobs.service import SERVICE as JOB_SERVICE
from inferencehub.gateway.grpc_api.jobs.service import JobMethods
from inferencehub.gateway.grpc_api.metadata import Metadata
from inferencehub.gateway.grpc_api.stream import MOST_WAITING, StreamedCalls
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.gateway.metrics import FrontMetrics
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.pb import inference_pb2 as predict_pb

PREDICT_SERVICE = "inference.ModelInference"
SERVICES = (SERVICE, PREDICT_SERVICE, JOB_SERVICE, HEALTH)
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 60_000, 20_000  # how a caller that has vanished is noticed
BEGUN_WITHIN_S = 2.0  # callers who do not wait for answers never come to an end
ANSWERS_HELD_S = 0.1  # before and after callers are told to go elsewhere
MOST_CALLS = 256  # of one connection at a time; others wait at their caller


def options(
    settings: GatewaySettings, most_answer_bytes: int, most_connections: int
) -> list[tuple[str, int]]:
    """The options of the port's server.

    A connection that is asked to end gets the longest time that a call may take for its calls.
    """
    chosen = [
        *server.options(settings.max_body_bytes, most_answer_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.max_concurrent_streams", MOST_CALLS),
        ("grpc.max_allowed_incoming_connections", most_connections),
    ]
    if settings.grpc_max_connection_age_s:
        chosen += [
            ("grpc.max_connection_age_ms", round(settings.grpc_max_connection_age_s * 1000)),
            ("grpc.max_connection_age_grace_ms", settings.max_timeout_ms),
        ]
    return chosen


def handlers(
    edge: Edge, infer: Infer, metadata: Metadata, streams: InferStreams, jobs: Jobs | None
) -> list[grpc.GenericRpcHandler]:
    """The handlers of the inference services and of jobs; `jobs` is None where there are none."""
    oip: dict[str, tuple[Work, type[Message] | None]] = {
        **metadata.methods(),
        "ModelInfer": (infer.infer, None),
    }
    small: dict[str, tuple[Work, type[Message] | None]] = {
        "Predict": (infer.predict, predict_pb.PredictRequest)
    }
    later: dict[str, Later] = {}
    if jobs is not None:
        deferral = Deferral(jobs, infer, edge.calls.table.bytes_held)
        later = {"ModelInfer": deferral.model_infer, "Predict": deferral.predict}
    found = []
    for service, methods in (
        (SERVICE, oip),
        (PREDICT_SERVICE, small),
        (JOB_SERVICE, JobMethods(jobs).methods()),
    ):
        made = {
            name: edge.unary(name, *method, action_of(name), later.get(name))
            for name, method in methods.items()
        }
        if service == SERVICE:
            made["ModelStreamInfer"] = streams.handler()
        found.append(grpc.method_handlers_generic_handler(service, made))
    return found


class GrpcPort:
    """See the module's text.

    Args:
        settings: the gateway's settings.
        limits: of connections.
        certificate: for TLS; None to speak in plain.
        callers: the rules for callers.
        calls: where calls of models go.
        metadata: answers questions about the server and its models.
        jobs: calls that become jobs; None where there are none.
        metrics: where calls are counted.
        access: where access lines go; None to write none.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        limits: Limits,
        certificate: Certificate | None,
        callers: Callers,
        calls: Calls,
        metadata: Metadata,
        jobs: Jobs | None,
        metrics: FrontMetrics,
        access: AccessLog | None,
    ) -> None:
        largest, held = calls.table.fleet.most_message_bytes, calls.table.bytes_held
        self.server = GrpcServer(
            settings.grpc_port,
            options(settings, largest, max(1, limits.max_connections // 4)),
            limits,
            held,
            None if certificate is None else server_credentials(certificate),
        )
        connected = self.server.callers
        self.edge = Edge(
            calls,
            metrics,
            access,
            settings.max_body_bytes,
            largest,
            connected,
            callers.counted,
            callers.call_limits is not None,
        )
        infer = Infer(calls)
        streamed = StreamedCalls(self.edge, infer, callers.authentication, callers.proxies, jobs is not None)
        self.streams = InferStreams(streamed.answer, MOST_WAITING, held, connected, streamed.admit)
        self.handlers = handlers(self.edge, infer, metadata, self.streams, jobs)
        if settings.reflection:
            self.handlers += reflection_handlers(SERVICES)
        self.health = Health(dict.fromkeys(("", SERVICE, PREDICT_SERVICE), False))
        self._serving = metadata.serving
        self._table = calls.table
        self._watching: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that callers use."""
        return self.server.port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: if the port is taken.
        """
        await self.server.start([*self.handlers, self.health.handlers()])
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def show_health(self) -> None:
        """Report whether the gateway serves, under the names of its services."""
        self.health.set(dict.fromkeys(("", SERVICE, PREDICT_SERVICE), self._serving()))

    async def _watch(self) -> None:
        while True:
            changed = self._table.changed  # read before the status, so no change is missed
            self.show_health()
            await changed.wait()

    async def _all_begun(self) -> None:
        """Wait until no call has arrived for a moment: then all that were received are begun, on a busy machine too."""
        ends, quiet = monotonic() + BEGUN_WITHIN_S, 0
        while quiet < 2 and monotonic() < ends:
            begun = self.edge.begun
            await asyncio.sleep(ANSWERS_HELD_S)
            quiet = quiet + 1 if self.edge.begun == begun else 0

    async def stop(self, grace_s: float) -> None:
        """Tell callers to go elsewhere, refuse new calls, and end after the running ones or after `grace_s` seconds."""
        self.health.end()
        self.streams.end()
        if self.server.connections.none():
            await self.server.stop(grace_s)
        else:
            await self._stop_before_answers(grace_s)
        if self._watching is not None:
            await cancelled([self._watching])

    async def _stop_before_answers(self, grace_s: float) -> None:
        """Stop while answers are held back for a moment.

        gRPC's core cancels calls that it has received and not yet handed over when a server stops. A caller that waits
        for an answer sends nothing new, so what has been received is begun, and callers learn that they must go
        elsewhere before they have their answers.
        """
        self.edge.held = asyncio.Event()
        await self._all_begun()
        stopping = asyncio.get_running_loop().create_task(self.server.stop(grace_s))
        await asyncio.sleep(ANSWERS_HELD_S)
        self.edge.held.set()
        await stopping
