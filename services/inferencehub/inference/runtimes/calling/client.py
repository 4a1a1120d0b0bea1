"""The gateway, as a pod calls it for its models: one more caller of its gRPC port.

A gateway takes a number of calls on a connection. If calls of models waited for a place there that calls within them need, none
would end. So each depth has a connection of its own: what waits there waits only for what is deeper.

New files of certificates are for new connections: the next call of a depth makes one. The former is held by the calls that
run on it, and gRPC closes a channel that nobody holds any more.

A call has the deadline, the request id and the trace of the run that it belongs to. How deep calls of models are nested travels in
the parameter `CALL_DEPTH` of the request, which gateways pass on like any other. A caller who sends it can only lower what
models may do for him.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any

import grpc

from inferencehub.core.grpc_server.credentials import secure_channel
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip import messages
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.traces.context import PARENT, STATE
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import CALL_DEPTH, Callers, InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.calling.key import GatewayKey
from inferencehub.inference.runtimes.calling.running import Origin
from inferencehub.pb import open_inference_pb2 as pb

logger = logging.getLogger(__name__)

DEEPEST = 8  # calls of models within calls of models
MOST_CALLS = 128  # on a connection; a gateway takes twice as many, and some may end there later than here
SOUND_ID = re.compile(r"[!-~]+")
LONGEST_ID = 128
SAY_S = 10.0  # at least between two lines of the log about calls that did not reach the gateway
LATE = "the deadline of the run has passed"
# The kind of an error, by its status code; of several kinds with one code, the usual one.
KINDS = {
    kind.grpc: kind
    for kind in (
        *(Kind.BAD_INPUT, Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.BUSY, Kind.CALLER_LEFT),
        *(Kind.MODEL_FAILED, Kind.UNSUPPORTED, Kind.NOT_READY, Kind.DEADLINE),
    )
}


class GatewayClient:
    """See the module's text.

    Args:
        address: host:port of its gRPC port.
        most_bytes: the largest message that is sent or received.
        bytes_held: the process's budget of request bytes.
        key: the key that calls show; None where the gateway asks for none.
        certificate: which certificate the gateway must show, and what calls show; None to speak in plain.
    """

    def __init__(
        self,
        address: str,
        most_bytes: int,
        bytes_held: ByteBudget,
        key: GatewayKey | None,
        certificate: Certificate | None,
    ) -> None:
        self._address = address
        self._most_bytes = most_bytes
        self._bytes_held = bytes_held
        self._key = key
        self._certificate = certificate
        self._connections: dict[int, Connection] = {}  # by the depth of their calls
        # When the log last said that the gateway was not reached, in seconds of `monotonic`.
        self._said = -inf

    def start(self) -> None:
        """Follow changes of the files."""
        for file in (self._key, self._certificate):
            if file is not None:
                file.start()

    async def infer(self, request: InferRequest, origin: Origin) -> tuple[Tensor, ...]:
        """The outputs of a call.

        Raises:
            HubError: if it fails.
        """
        if origin.depth >= DEEPEST:
            raise HubError(
                Kind.MODEL_FAILED,
                f"it would be {origin.depth + 1} calls of models within each other, expected at most {DEEPEST}",
            )
        self._bytes_held.take(request.size)
        try:
            message = messages.request_head(request.with_parameters({CALL_DEPTH: origin.depth + 1}))
            message.raw_input_contents.extend([bytes(tensor.data) for tensor in request.inputs])
            return messages.outputs_from_proto(await self._answer(message, origin))
        except ValueError as error:
            raise HubError(Kind.MODEL_FAILED, f"its answer cannot be read: {error}") from None
        finally:
            self._bytes_held.give(request.size)

    async def _answer(self, message: pb.ModelInferRequest, origin: Origin) -> pb.ModelInferResponse:
        try:
            connection = self._connection(origin.depth)
            return await connection.infer(message, origin.deadline, self._metadata(origin.callers))
        except TimeoutError:
            failure = HubError(Kind.DEADLINE, LATE)
        except grpc.aio.AioRpcError as error:
            failure = self._failure(error)
        try:
            raise failure
        finally:
            del failure  # its traceback has this frame: a cycle

    def _connection(self, depth: int) -> Connection:
        """That of a depth, with the newest files."""
        connection = self._connections.get(depth)
        if connection is None or not connection.newest:
            connection = Connection(self._address, self._most_bytes, self._certificate)
            self._connections[depth] = connection
        return connection

    def _metadata(self, callers: Callers) -> list[tuple[str, str]]:
        """What a call says of its caller, and of the run that it belongs to."""
        id = callers.id[:LONGEST_ID]
        given = [
            ("x-request-id", id if SOUND_ID.fullmatch(id) else ""),
            (PARENT.decode(), callers.traceparent),
            (STATE.decode(), callers.tracestate),
            ("x-api-key", "" if self._key is None else self._key.text),
        ]
        return [(name, value) for name, value in given if value]

    def _failure(self, error: grpc.aio.AioRpcError) -> HubError:
        """The error of a call. What the gateway answers has the request's id; else gRPC speaks, which names addresses."""
        kind = KINDS.get(error.code().name, Kind.MODEL_FAILED)
        if any(name == "x-request-id" for name, _ in error.trailing_metadata() or ()):
            return HubError(kind, error.details() or error.code().name)
        if kind is Kind.DEADLINE:
            return HubError(kind, LATE)
        self._say(error)
        return HubError(Kind.NOT_READY, "the gateway cannot be reached; the pod's log says why")

    def _say(self, error: grpc.aio.AioRpcError) -> None:
        """Write why the gateway was not reached: not for each call, for there may be thousands a second."""
        now = monotonic()
        if now - self._said < SAY_S:
            return
        self._said = now
        expected = "a gateway that speaks in plain, for HUB_GATEWAY_TLS_CA is not set"
        if self._certificate is not None:
            trusted = f"HUB_GATEWAY_TLS_CA ({self._certificate.authorities})"
            expected = f"TLS, with a certificate for {self._certificate.calls} of an authority in {trusted}"
        about = {"gateway": self._address, "code": error.code().name, "reason": error.details()}
        logger.warning("a model's call did not reach the gateway", extra={**about, "expected": expected})

    async def close(self) -> None:
        """End all calls, and the connections."""
        for file in (self._key, self._certificate):
            if file is not None:
                await file.stop()
        for connection in self._connections.values():
            await connection.close()
        self._connections = {}


class Connection:
    """One connection to the gateway.

    Args:
        address, most_bytes, certificate: as in `GatewayClient`.
    """

    def __init__(self, address: str, most_bytes: int, certificate: Certificate | None) -> None:
        options = [
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", most_bytes),
            ("grpc.use_local_subchannel_pool", 1),  # each has a connection of its own
            ("grpc.enable_http_proxy", 0),  # a proxy in the environment is not for the gateway
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._certificate = certificate
        self._shown = None if certificate is None else certificate.contents
        self._channel = (
            grpc.aio.insecure_channel(address, options)
            if certificate is None
            else secure_channel(address, options, certificate)
        )
        self._infer: Any = self._channel.unary_unary(
            f"/{messages.SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        self._places = asyncio.Semaphore(MOST_CALLS)

    @property
    def newest(self) -> bool:
        """Whether it was made with what the files hold now."""
        return self._certificate is None or self._certificate.contents is self._shown

    async def infer(
        self, message: pb.ModelInferRequest, deadline: float, metadata: Sequence[tuple[str, str]]
    ) -> pb.ModelInferResponse:
        """ModelInfer at the gateway.

        Args:
            message: the request.
            deadline: in seconds of `time.monotonic`.
            metadata: of the call.

        Raises:
            TimeoutError: if no place was free by the deadline.
            AioRpcError: if the call fails.
        """
        async with asyncio.timeout(deadline - monotonic()):
            await self._places.acquire()
        try:
            left = max(0.0, deadline - monotonic())
            answer: pb.ModelInferResponse = await self._infer(message, timeout=left, metadata=metadata)
            return answer
        finally:
            self._places.release()

    async def close(self) -> None:
        """End all calls, and the connection."""
        await self._channel.close()
