"""One gRPC channel to an inference service: the calls that a gateway makes there, and which of them run.

A service that goes away tells so in one of two ways. Where the connection breaks, or the service takes no more calls
while it drains, those that run end by themselves, with an answer or without. Where it is silent, frozen or on a node
that has vanished, they would run until their deadlines: closing the channel ends them, and each is then `Lost`.

A pod of ours gets its calls over a standing stream, see `stream.py`. A call of its own is what other servers get, what
a pod gets while there is no stream, and every request that is too large for it or whose answer is expected to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core import wire
from inferencehub.core.tensors import Buffer
from inferencehub.gateway.stream import Failed, Stream, failed
from inferencehub.pb import open_inference_pb2 as pb

logger = logging.getLogger(__name__)

PATIENCE_S = 2.0  # how long a connection, or an answer to a question that is no inference, may take
STAND_AGAIN_S = 1.0  # until a stream that has ended is opened anew
SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class Lost(Exception):
    """The service gave no answer.

    Args:
        how: how that showed.
        silent: whether it was silence rather than a broken connection.
    """

    def __init__(self, how: str, silent: bool = False) -> None:
        super().__init__(how)
        self.silent = silent


class Channel:
    """An open channel; `async with Channel(...)` waits until it is connected.

    Args:
        address: host:port.
        max_message_bytes: largest message that is sent or taken.
    """

    def __init__(self, address: str, max_message_bytes: int) -> None:
        options = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
            ("grpc.enable_retries", 0),  # what is tried again, and where, is decided in the lane
            ("grpc.min_reconnect_backoff_ms", int(PATIENCE_S * 1000)),  # how long one attempt may take
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        self.address = address
        self.max_message_bytes = max_message_bytes
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self._infer: Any = self._channel.unary_unary(
            f"/{wire.SERVICE}/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
        )
        self._calls: set[Any] = set()
        self._stream: Stream | None = None
        self._standing: asyncio.Task[None] | None = None
        self._closing = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wait_for(self._channel.channel_ready(), PATIENCE_S)
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
        if self._standing is not None:
            self._standing.cancel()
            await asyncio.wait([self._standing])
        await self._channel.close()

    def stand(self) -> None:
        """Keep a standing stream from now on; for a pod that announces `wire.STREAM_EXTENSION`."""
        self._standing = asyncio.get_running_loop().create_task(self._stand())

    @property
    def running(self) -> int:
        """Inference calls that have not ended."""
        return self._running

    async def idle(self) -> None:
        """Wait until no inference call runs; none runs beyond its deadline."""
        await self._idle.wait()

    async def infer(
        self, message: pb.ModelInferRequest, raw: Sequence[Buffer], timeout: float, on_stream: bool = True
    ) -> Any:
        """ModelInfer, a ModelInferResponse, on the stream where there is one.

        Args:
            message: the request but for its raw contents; its id is ours to set.
            raw: these.
            timeout: seconds until a call of its own is ended. On the stream the pod goes by what the message says,
                and whoever waits here ends the wait.
            on_stream: whether it may go over the stream.

        Raises:
            Failed: as the service ended the call.
            Lost: where the channel was closed under it.
        """
        self._running += 1
        self._idle.clear()
        stream = self._stream if on_stream else None
        try:
            if stream is not None:
                message.id = id = stream.next_id()
            parts = wire.written(message, raw, aligned=stream is not None)
            if stream is not None and sum(map(len, parts)) <= stream.limit:
                return await stream.infer(id, parts)
            return await self._call(b"".join(parts), timeout)
        except Failed:
            if self._closing:
                raise Lost("the channel was closed") from None
            raise
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _call(self, data: bytes, timeout: float) -> Any:
        call = self._infer(data, timeout=timeout)
        self._calls.add(call)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise failed(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Lost("the channel was closed") from None
        finally:
            self._calls.discard(call)

    async def _stand(self) -> None:
        while True:
            try:
                stream = Stream(self.address, self.max_message_bytes, PATIENCE_S)
                await stream.open()
                self._stream = stream
                await stream.run()
            except (OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                logger.info("no stream", extra={"backend": self.address, "reason": reason})
            except Exception:
                logger.exception("stream failed", extra={"backend": self.address})
            finally:
                self._stream = None
            await asyncio.sleep(STAND_AGAIN_S)

    async def ask(self, name: str, request: Any, reply: Any) -> Any:
        """Any other method of the protocol.

        Raises:
            AioRpcError: where the service answers with an error.
            Lost: where it does not answer.
        """
        try:
            return await self._method(name, reply)(request, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in GONE:
                raise lost(error) from None
            raise

    async def check(self) -> bool:
        """Health Check of the whole.

        Raises:
            Lost: where there is no answer.
        """
        try:
            reply = await self._health.Check(health_pb2.HealthCheckRequest(service=""), timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            raise lost(error) from None
        return bool(reply.status == SERVING)

    async def has_watch(self) -> bool:
        """Whether the service has health Watch and speaks for the whole there.

        Raises:
            Lost: where there is no answer.
        """
        call = self._health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=PATIENCE_S)
        try:
            reply = await call.read()
        except grpc.aio.AioRpcError as error:
            if error.code() in GONE:
                raise lost(error) from None
            return False
        finally:
            call.cancel()
        return reply is not grpc.aio.EOF and reply.status != SERVICE_UNKNOWN

    async def watch(self, service: str) -> AsyncIterator[bool]:
        """Whether a service of health serves, now and at each change, until the stream ends for whatever reason.

        One that health does not know is not held to be out: the list of models speaks for it.
        """
        call = self._health.Watch(health_pb2.HealthCheckRequest(service=service))
        try:
            async for reply in call:
                yield reply.status in (SERVING, SERVICE_UNKNOWN)
        except grpc.aio.AioRpcError:
            return
        finally:
            call.cancel()

    def _method(self, name: str, reply: Any) -> Any:
        return self._channel.unary_unary(
            f"/{wire.SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )


def lost(error: grpc.aio.AioRpcError) -> Lost:
    """A call that was not answered, as `Lost`."""
    return Lost(error.code().name, silent=error.code() is grpc.StatusCode.DEADLINE_EXCEEDED)
