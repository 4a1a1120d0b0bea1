"""The pod's end of a gateway's standing stream (`gateway/pods/stream.py`, `core/oip/messages.py`): ModelStreamInfer with our mark.

Every message is a call and runs by itself; answers leave in the order in which they are ready. The stream lives as
long as its gateway wants. When the pod stops, it takes no new call, answers those that run, and ends the stream with
OK: what was not answered by then was never begun.

Streams have a port of their own, for gRPC's server would hand each message to a thread and back (`core/http2`).
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
    """What runs the calls."""

    def begin(
        self, message: pb.ModelInferRequest, raw: Sequence[Buffer], stream: StandingStream, sink: Sink
    ) -> Call:
        """Accept a message, with its raw contents; `sink` gets the answers.

        Raises:
            Exception: where it is not accepted.
        """

    def part(self, id: str, call: Call, response: InferResponse, limit: int) -> bytes:
        """One of several answers.

        Raises:
            HubError: where it is larger than `limit` bytes.
        """

    def answer(self, id: str, call: Call, end: End, limit: int) -> bytes:
        """The end of a call, of `limit` bytes at most; b"" where the caller has left."""

    def failure(self, id: str, error: Exception, message: pb.ModelInferRequest | None) -> bytes:
        """The answer to a message that was not accepted."""


class Streams:
    """All of a pod's streams, and the port that they come in by.

    Args:
        pod: what runs the calls.
        most_bytes: of a message, either way.
        longest_s: seconds that a call may last at most; how long each may last its message says.
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
            OSError: where the port is taken.
        """
        sock = listen(port)
        self.port = sock.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: StandingStream(self), sock=sock)

    async def stop(self, grace_s: float) -> None:
        """Take no new call on any stream; each ends once those that run are answered, or after `grace_s` seconds."""
        self._ending = True
        if self._server is not None:
            self._server.close()
        for stream in list(self._open):
            stream.end()
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none.wait(), grace_s)
        for stream in list(self._open):
            stream.abort()

    def opened(self, stream: StandingStream) -> None:
        """A gateway is connected."""
        self._open.add(stream)
        self._none.clear()
        if self._ending:
            stream.end()

    def closed(self, stream: StandingStream) -> None:
        """It is no more."""
        self._open.discard(stream)
        if not self._open:
            self._none.set()


class Answers:
    """The sink of one call: its answers go out on the call's stream."""

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
    """One stream.

    Args:
        streams: whose it is.
    """

    def __init__(self, streams: Streams) -> None:
        super().__init__(self._take, streams.most_bytes)
        self._streams = streams
        self._pod = streams.pod
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._limit = 0  # bytes of the largest message that the gateway takes
        self._running: dict[str, Call] = {}
        self._ending = False

    def connection_made(self, transport: Any) -> None:
        """Say what this side takes."""
        super().connection_made(transport)
        self._streams.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, and the stream with it."""
        super().connection_lost(error)
        self._streams.closed(self)

    def time_remaining(self) -> float:
        """As of a gRPC call: seconds that a message's call may last."""
        return self._streams.longest_s

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """As of a gRPC call."""
        return self._metadata

    def end(self) -> None:
        """Take no new call, and end once those that run are answered."""
        self._ending = True
        if not self._begun:
            self.abort()
        elif not self._running:
            self.finish(OK)

    def abort(self) -> None:
        """End at once."""
        self._break("the pod has stopped")

    def _headed(self, headers: Mapping[str, str], last: bool) -> None:
        if self._begun or self._finished:  # trailers, which clients of gRPC have none of
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

    def _half_closed(self) -> None:
        self.end()

    def _ended(self, why: str) -> None:
        for call in list(self._running.values()):
            call.leave()

    def _take(self, data: Buffer) -> None:
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
                (extension.failure_to_proto(id, "RESOURCE_EXHAUSTED", "the pod takes nothing more", True),)
            )
        elif id in self._running:
            self.send((extension.failure_to_proto(id, "INVALID_ARGUMENT", f"id '{id[:80]}' runs already"),))
        else:
            try:
                answers = Answers(self, id)
                call = answers.call = self._pod.begin(message, raw, self, answers)
                self._running[id] = call
            except Exception as error:
                self.send((self._pod.failure(id, error, message),))

    def part(self, id: str, call: Call, response: InferResponse) -> None:
        """One of several answers; the call ends where it can't be sent."""
        if id not in self._running:
            return
        try:
            self.send((self._pod.part(id, call, response, self._limit),))
        except HubError as error:
            self.answer(id, call, error)
            call.leave()

    def answer(self, id: str, call: Call, end: End) -> None:
        """A call has ended."""
        if self._running.pop(id, None) is None:
            return
        if reply := self._pod.answer(id, call, end, self._limit):
            self.send((reply,))
        if self._ending and not self._running:
            self.finish(OK)
