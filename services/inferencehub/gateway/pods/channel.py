"""One gRPC channel to an inference service: the calls that the gateway makes there, and which of them run.

A service can go away in two ways. If the connection breaks, or the service drains, the calls that run end by
themselves, with an answer or without. If the service is silent (frozen, or its node has vanished), the calls would run
until their deadlines. Closing the channel ends them, and each raises `Lost`.

A pod of ours gets its calls over two standing streams (`stream.py`): one for small messages, one for large requests and
large answers. Other servers get a unary call for each request, and so does a pod while it has no stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Self

import grpc

from inferencehub.core.grpc_server.credentials import secure_channel
from inferencehub.core.oip import extension, messages, raw_fields
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.pods.health import ANSWER_S, Health
from inferencehub.gateway.pods.link import GONE, Failed, Lost, Part, Place, failed, lost
from inferencehub.gateway.pods.reconnect import ReconnectingStream
from inferencehub.gateway.pods.stream import LARGE_MESSAGE, PodStream
from inferencehub.pb import open_inference_pb2 as pb


class Channel:
    """An open channel; `async with Channel(...)` waits until it is connected.

    Args:
        address: host:port.
        max_message_bytes: largest message that is sent or received.
        certificate: for TLS; None to speak in plain.
    """

    def __init__(self, address: str, max_message_bytes: int, certificate: Certificate | None = None) -> None:
        options = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
            ("grpc.enable_http_proxy", 0),  # a proxy in the environment is not for pods
            ("grpc.enable_retries", 0),  # the lane decides about retries
            ("grpc.min_reconnect_backoff_ms", int(ANSWER_S * 1000)),  # how long one attempt may take
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        self.address = address
        self.max_message_bytes = max_message_bytes
        self._certificate = certificate
        self._channel = (
            grpc.aio.insecure_channel(address, options)
            if certificate is None
            else secure_channel(address, options, certificate)
        )
        self.health = Health(self._channel)
        self._infer: Any = self._channel.unary_unary(
            f"/{messages.SERVICE}/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
        )
        self._calls: set[Any] = set()
        self.kept: tuple[ReconnectingStream, ...] = ()  # for small messages, and for large ones
        self._ids = count(1)
        self._closing = False
        self._running = 0
        self.idle = asyncio.Event()  # set while no inference call runs; none runs longer than its deadline
        self.idle.set()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._channel.channel_ready()
        except TimeoutError:
            await self._channel.close()
            raise Lost("no connection") from None
        except BaseException:
            await self._channel.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for call in list(self._calls):
            call.cancel()
        for kept in self.kept:
            await kept.close()
        await self._channel.close()

    def stand(self, port: int) -> None:
        """Keep two streams to `port` at the service's host from now on."""
        address = f"{self.address.rpartition(':')[0]}:{port}"
        make = partial(PodStream, address, self.max_message_bytes, ANSWER_S, self._certificate)
        self.kept = (ReconnectingStream(make), ReconnectingStream(make))

    @property
    def running(self) -> int:
        """The number of inference calls that have not ended."""
        return self._running

    async def infer(
        self,
        message: pb.ModelInferRequest,
        raw: Sequence[Sequence[Buffer]],
        timeout: float,
        large: bool,
        part: Part,
        trace: Place,
    ) -> Any:
        """Call ModelInfer, on a stream if there is one, and return its ModelInferResponse.

        Args:
            message: the request without its raw contents; this method sets its id.
            raw: the raw contents, each in parts.
            timeout: seconds until a unary call is ended. On a stream the pod uses the deadlines in the message, and
                the caller of this method stops waiting.
            large: whether the answer is expected to be large.
            part: gets what comes before the end, which only a stream can bring.
            trace: the call's place in its trace, for the metadata of a unary call; None if it has none.

        Raises:
            Failed: if the service ended the call with an error.
            Lost: if the channel was closed while the call ran.
        """
        self._running += 1
        self.idle.clear()
        try:
            if self.kept:
                message.id = str(next(self._ids))
            parts = raw_fields.written(message, raw, aligned=bool(self.kept))
            stream = self._stream_for(sum(map(len, parts)), large)
            if stream is not None:
                return await stream.infer(message.id, parts, part, extension.AGAIN in message.parameters)
            if part is not None and part.answer is not None:  # a call can't bring several answers
                up = any(kept.stream is not None for kept in self.kept)
                detail = "the message is larger than the pod's limit" if up else "there is no stream"
                raise Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, detail, refused=not up)
            metadata = trace and tuple(trace.headers.items())
            return await self._ended(self._infer(b"".join(parts), timeout=timeout, metadata=metadata))
        except Failed as failure:
            if self._closing and not failure.refused:
                raise Lost("the channel was closed") from None
            raise
        finally:
            self._running -= 1
            if not self._running:
                self.idle.set()

    def _stream_for(self, size: int, large: bool) -> PodStream | None:
        """The stream for a message of `size` bytes, or None. Large ones have their own, so small ones do not wait."""
        for kept in self.kept[large or size > LARGE_MESSAGE :]:
            stream = kept.stream
            if stream is not None and size <= stream.limit:
                return stream
        return None

    async def _ended(self, call: Any) -> Any:
        """The answer of a unary call. It raises as `infer`, and may be cancelled with the channel."""
        self._calls.add(call)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise failed(error) from None
        except asyncio.CancelledError:
            raise_own_cancellation()
            raise Lost("the channel was closed") from None
        finally:
            self._calls.discard(call)

    async def ask(self, name: str, request: Any, reply: Any) -> Any:
        """Call any other method of the protocol, with ANSWER_S as its deadline.

        Raises:
            AioRpcError: if the service answers with an error.
            Lost: if it does not answer, or the channel is closed meanwhile.
        """
        try:
            return await self._method(name, reply)(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in GONE:
                raise lost(error) from None
            raise
        except asyncio.CancelledError:
            raise_own_cancellation()
            raise Lost("the channel was closed") from None

    async def change(self, request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> None:
        """Call RepositoryModelLoad or RepositoryModelUnload, and wait for its end, however long a model loads.

        Raises:
            Failed: if the service refuses the change, or fails in it.
            Lost: if the channel was closed meanwhile.
        """
        # Both answers are empty, so one class reads them.
        what = "Load" if isinstance(request, pb.RepositoryModelLoadRequest) else "Unload"
        await self._ended(self._method(f"RepositoryModel{what}", pb.RepositoryModelLoadResponse)(request))

    async def alive(self) -> None:
        """Wait until the service has answered ServerLive; an error is an answer too.

        Raises:
            Lost: if it does not answer.
        """
        try:
            await self.ask("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
        except grpc.aio.AioRpcError:
            return

    async def server_ready(self) -> bool:
        """Call ServerReady.

        Raises:
            Lost: if there is no answer, or an error.
        """
        try:
            reply = await self.ask("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
        except grpc.aio.AioRpcError as error:
            raise lost(error) from None
        return bool(reply.ready)

    async def model_ready(self, name: str) -> bool:
        """Call ModelReady; an error means that the model is not ready.

        Raises:
            Lost: if there is no answer.
        """
        try:
            reply = await self.ask("ModelReady", pb.ModelReadyRequest(name=name), pb.ModelReadyResponse)
        except grpc.aio.AioRpcError:
            return False
        return bool(reply.ready)

    def _method(self, name: str, reply: Any) -> Any:
        return self._channel.unary_unary(
            f"/{messages.SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )


def raise_own_cancellation() -> None:
    """Within `except CancelledError`: raise it if this task was cancelled, and not only the call that it awaits."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise
