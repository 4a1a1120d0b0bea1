"""The pod's end of a gateway's standing stream: ModelStreamInfer with our metadata (`core/oip/extension.py`).

The gateway's end is `gateway/pods/stream.py`. Every message is a separate call; answers are sent in the order in which
they are ready. The stream lasts as long as its gateway wants. When the pod stops, it refuses new calls, answers the
running ones, and ends the stream with OK. A call without an answer at that moment has never started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from inferencehub.core.http1.unread import Unread
from inferencehub.core.http2.half_message import Budget, GivenUp
from inferencehub.core.http2.server import ServerStream
from inferencehub.core.lane.sink import End, Sink
from inferencehub.core.oip import extension, messages
from inferencehub.core.oip.parts import Weighed
from inferencehub.core.oip.raw_fields import id_of, read_request
from inferencehub.core.values.errors import HubError, Kind
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

    def parts(self, id: str, call: Call, answers: Sequence[Weighed], limit: int) -> bytes:
        """One or more of several answers, serialized.

        Raises:
            HubError: if they have more than `limit` bytes.
        """

    def answer(self, id: str, call: Call, end: End, limit: int) -> bytes:
        """The message that ends a call, serialized, of at most `limit` bytes; b"" if the caller has left."""

    def failure(self, id: str, error: Exception, message: pb.ModelInferRequest | None) -> bytes:
        """The answer to a message that was not accepted, serialized."""


class Port(Protocol):
    """What the streams of a pod share."""

    pod: CallRunner
    most_bytes: int
    longest_s: float
    unread: Unread
    again: tuple[StandingStream, str] | None  # the running call that was lost with another pod before

    @property
    def budget(self) -> Budget:
        """The process's budget of bytes."""

    def opened(self, stream: StandingStream) -> bool:
        """Note that a gateway has connected; False if there are too many connections."""

    def closed(self, stream: StandingStream) -> None:
        """Note that a gateway's connection is closed."""


class Answers:
    """The sink of one call: it writes the answers to the call's stream.

    Of several answers, those that come in one pass of the event loop are one message: a message costs more than an answer.
    """

    __slots__ = ("_parts", "call", "id", "stream")
    several = True
    call: Call

    def __init__(self, stream: StandingStream, id: str) -> None:
        self.stream = stream
        self.id = id
        self._parts: list[Weighed] = []

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`."""
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._send)
        self._parts.append((response, weight))

    def end(self, end: End) -> None:
        """See `Sink`."""
        self._send()
        self.stream.answer(self.id, self.call, end)

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self.stream.parts(self.id, self.call, parts)


class StandingStream(ServerStream):
    """One standing stream. To its calls, it looks like the context of a gRPC call.

    Args:
        streams: all streams of the pod.
    """

    def __init__(self, streams: Port) -> None:
        super().__init__(streams.most_bytes, budget=streams.budget)
        self._streams = streams
        self._pod = streams.pod
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._limit = 0  # bytes of the largest message that the gateway takes
        self._running: dict[str, Call] = {}
        self._ending = False
        self._slow = False  # answers wait to be sent, and `unread` watches them

    def connection_made(self, transport: Any) -> None:
        """Send this side's settings; if there are too many connections, close this one."""
        super().connection_made(transport)
        if not self._streams.opened(self):
            self._break("there are too many streams")

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, so the stream is over."""
        super().connection_lost(error)
        self._streams.unread.remove(self)
        self._streams.closed(self)

    def pause_writing(self) -> None:
        """The gateway does not read: stop reading from it."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The gateway reads again: read from it again."""
        super().resume_writing()
        self._watch()

    def control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """See `Receiver`."""
        super().control(kind, flags, stream, payload)
        if self._slow:
            self._watch()

    def _held_up(self) -> None:
        super()._held_up()
        self._watch()

    def _watch(self) -> None:
        """Account for answers that wait because the gateway does not read them."""
        unread, slow = self._streams.unread, not self.over and (self._stuck or self._outgoing.held > 0)
        if slow and self._slow:
            unread.look(self)
        elif slow:
            self._slow = True
            unread.add(self)
        else:
            self._slow = False
            unread.remove(self)

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
        if self._begun or self._finished:  # trailers, which end the stream; gRPC clients send none
            self.half_closed()
            return
        limit = headers.get(extension.STREAM, "")
        if headers.get(":path") != messages.STREAM_METHOD or not limit.isdigit():
            self.finish(UNIMPLEMENTED, "this port is for the streams of gateways")
            return
        self._limit = min(self._streams.most_bytes, int(limit))
        self._metadata = tuple(headers.items())
        self.begin(((extension.STREAM, str(self._streams.most_bytes)), (extension.TELLS_BEGUN, "1")))
        if last:
            self.end()

    def half_closed(self) -> None:
        """See `Receiver`."""
        self.end()

    def _ended(self, why: str) -> None:
        for call in list(self._running.values()):
            call.leave()

    def given_up(self, head: bytes, why: GivenUp) -> None:
        """See `Receiver`: refuse the call. Unless it is too large, another pod may take it."""
        if why is GivenUp.TOO_LARGE:
            kind, detail = Kind.TOO_LARGE, f"the request has more than {self._streams.most_bytes} bytes"
        elif why is GivenUp.TOO_SLOW:
            kind, detail = Kind.BUSY, "the request did not arrive at the pod in time"
        else:
            kind, detail = Kind.BUSY, "the pod holds too many bytes of requests"
        self.send((extension.failure_to_proto(id_of(head), kind, detail),))

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
        elif extension.CREDIT in message.parameters:
            if id in self._running:
                self._running[id].credit(message.parameters[extension.CREDIT].int64_param)
        elif self._ending:
            self.send((extension.failure_to_proto(id, Kind.BUSY, "the pod accepts no new calls"),))
        elif id in self._running:
            self.send((extension.failure_to_proto(id, Kind.BAD_INPUT, f"id '{id[:80]}' is in use"),))
        elif extension.AGAIN in message.parameters and self._streams.again is not None:
            detail = "the pod already runs a request that was lost with another pod"
            self.send((extension.failure_to_proto(id, Kind.BUSY, detail),))
        else:
            try:
                answers = Answers(self, id)
                call = answers.call = self._pod.begin(message, raw, self, answers)
                self._running[id] = call
                if extension.AGAIN in message.parameters:
                    self._streams.again = (self, id)
                    self.send((extension.begun_to_proto(id),))
            except Exception as error:
                self.send((self._pod.failure(id, error, message),))

    def progress(self, id: str, progress: float) -> None:
        """Say how far a call is, from 0 to 1."""
        if id in self._running:
            self.send((extension.progress_to_proto(id, progress),))

    def parts(self, id: str, call: Call, answers: Sequence[Weighed]) -> None:
        """Send one or more of several answers. If one cannot be sent, end the call with an error."""
        if id not in self._running:
            return
        try:
            self.send((self._pod.parts(id, call, answers, self._limit),))
        except HubError as error:
            if len(answers) > 1:  # one of them may be too large, or they are so only together
                for answer in answers:
                    self.parts(id, call, (answer,))
                return
            self.answer(id, call, error)
            call.leave()

    def answer(self, id: str, call: Call, end: End) -> None:
        """End a call and send its answer."""
        if self._running.pop(id, None) is None:
            return
        if self._streams.again == (self, id):
            self._streams.again = None
        if reply := self._pod.answer(id, call, end, self._limit):
            self.send((reply,))
        if self._ending and not self._running:
            self.finish(OK)
