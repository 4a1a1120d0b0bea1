"""The pod's end of a gateway's standing stream: ModelStreamInfer with our metadata (`core/oip/extension.py`).

The gateway's end is `gateway/pods/stream.py`. Every message is a separate call; answers are sent in the order in which
they are ready. The stream lasts as long as its gateway wants. When the pod stops, it refuses new calls, answers the
running ones, and ends the stream with OK. A call without an answer at that moment has never started.

Streams have their own port, because gRPC's server would hand each message to a thread and back (`core/http2`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from inferencehub.core.http1.server import listen
from inferencehub.core.http2.server import ServerStream
from inferencehub.core.lane.sink import End, Sink
from inferencehub.core.oip import extension, messages
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.grpc_api.call import Call
from inferencehub.pb import open_inference_pb2 as pb

OK, UNIMPLEMENTED = 0, 12  # gRPC's status codes


class CallRunner(Protocol):
    """Runs the calls of standing streams."""

    def begin(
        self, message: pb.ModelInferRequest, raw: Sequence[Buffer], stream: StandingStream, sink: Sink
    ) -> Call:
        """Begin the call that a message asks for; `raw` is its raw contents, `sink` gets the answers.

        Raises:
            Exception: if the call is not accepted.
        """

    def part(self, id: str, call: Call, response: InferResponse, limit: int) -> bytes:
        """One of several answers, serialized.

        Raises:
            HubError: if it has more than `limit` bytes.
        """

    def answer(self, id: str, call: Call, end: End, limit: int) -> bytes:
        """The message that ends a call, serialized, of at most `limit` bytes; b"" if the caller has left."""

    def failure(self, id: str, error: Exception, message: pb.ModelInferRequest | None) -> bytes:
        """The answer to a message that was not accepted, serialized."""


class Streams:
    """All standing streams of a pod, and the port on which they arrive.

    Args:
        pod: runs the calls.
        most_bytes: bytes of the largest message, in both directions.
        longest_s: the most seconds that a call may take; each message can ask for less.
    """

    def __init__(self, pod: CallRunner, most_bytes: int, longest_s: float) -> None:
        self.pod = pod
        self.most_bytes = most_bytes
        self.longest_s = longest_s
        self.port = 0
        self._open: set[StandingStream] = set()
        self._none = asyncio.Event()
        self._ending = False
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        """Listen; port 0 takes a free one.

        Raises:
            OSError: if the port is taken.
        """
        sock = listen(port)
        self.port = sock.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: StandingStream(self), sock=sock)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, and end each stream when its running calls are answered, or after `grace_s` seconds."""
        self._ending = True
        if self._server is not None:
            self._server.close()
        for stream in list(self._open):
            stream.end()
        if self._open:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._none.wait()
        for stream in list(self._open):
            stream.abort()

    def opened(self, stream: StandingStream) -> None:
        """Note that a gateway has connected."""
        self._open.add(stream)
        self._none.clear()
        if self._ending:
            stream.end()

    def closed(self, stream: StandingStream) -> None:
        """Note that a gateway's connection is closed."""
        self._open.discard(stream)
        if not self._open:
            self._none.set()


class Answers:
    """The sink of one call: it writes the answers to the call's stream."""

    __slots__ = ("call", "id", "stream")
    call: Call

    def __init__(self, stream: StandingStream, id: str) -> None:
        self.stream = stream
        self.id = id

    def part(self, response: InferResponse) -> None:
        """See `Sink`."""
        self.stream.part(self.id, self.call, response)

    def end(self, end: End) -> None:
        """See `Sink`."""
        self.stream.answer(self.id, self.call, end)


class StandingStream(ServerStream):
    """One standing stream. To its calls, it looks like the context of a gRPC call.

    Args:
        streams: all streams of the pod.
    """

    def __init__(self, streams: Streams) -> None:
        super().__init__(streams.most_bytes)
        self._streams = streams
        self._pod = streams.pod
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._limit = 0  # bytes of the largest message that the gateway takes
        self._running: dict[str, Call] = {}
        self._ending = False

    def connection_made(self, transport: Any) -> None:
        """Send this side's settings."""
        super().connection_made(transport)
        self._streams.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, so the stream is over."""
        super().connection_lost(error)
        self._streams.closed(self)

    def time_remaining(self) -> float:
        """As in a gRPC context: the most seconds that a call may take."""
        return self._streams.longest_s

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """As in a gRPC context: the metadata that the gateway began the stream with."""
        return self._metadata

    def end(self) -> None:
        """Refuse new calls, and end the stream when the running ones are answered."""
        self._ending = True
        if not self._begun:
            self.abort()
        elif not self._running:
            self.finish(OK)

    def abort(self) -> None:
        """End at once."""
        self._break("the pod has stopped")

    def _headed(self, headers: Mapping[str, str], last: bool) -> None:
        if self._begun or self._finished:  # trailers; gRPC clients send none
            return
        limit = headers.get(extension.STREAM, "")
        if headers.get(":path") != messages.STREAM_METHOD or not limit.isdigit():
            self.finish(UNIMPLEMENTED, "this port is for the streams of gateways")
            return
        self._limit = min(self._streams.most_bytes, int(limit))
        self._metadata = tuple(headers.items())
        self.begin(((extension.STREAM, str(self._streams.most_bytes)),))
        if last:
            self.end()

    def half_closed(self) -> None:
        """See `Receiver`."""
        self.end()

    def _ended(self, why: str) -> None:
        for call in list(self._running.values()):
            call.leave()

    def message(self, data: Buffer) -> None:
        """See `Receiver`: begin the call that the message asks for."""
        if self._finished or self.over:
            return
        try:
            message, raw = read_request(data)
        except HubError as error:
            self.send((self._pod.failure("", error, None),))
            return
        id = message.id
        if extension.CANCEL in message.parameters:
            if id in self._running:
                self._running[id].leave()
        elif self._ending:
            self.send(
                (extension.failure_to_proto(id, "RESOURCE_EXHAUSTED", "the pod accepts no new calls", True),)
            )
        elif id in self._running:
            self.send((extension.failure_to_proto(id, "INVALID_ARGUMENT", f"id '{id[:80]}' is in use"),))
        else:
            try:
                answers = Answers(self, id)
                call = answers.call = self._pod.begin(message, raw, self, answers)
                self._running[id] = call
            except Exception as error:
                self.send((self._pod.failure(id, error, message),))

    def part(self, id: str, call: Call, response: InferResponse) -> None:
        """Send one of several answers. If it cannot be sent, end the call with an error."""
        if id not in self._running:
            return
        try:
            self.send((self._pod.part(id, call, response, self._limit),))
        except HubError as error:
            self.answer(id, call, error)
            call.leave()

    def answer(self, id: str, call: Call, end: End) -> None:
        """End a call and send its answer."""
        if self._running.pop(id, None) is None:
            return
        if reply := self._pod.answer(id, call, end, self._limit):
            self.send((reply,))
        if self._ending and not self._running:
            self.finish(OK)
