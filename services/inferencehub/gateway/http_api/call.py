"""One HTTP call of a model at the gateway, from its head to its access line. It is the sink of the model's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Protocol, TypeVar

from inferencehub.core.http1.coding.deflate import VARY, WORTH, coding_for
from inferencehub.core.http1.handler import Body, Head, Reply, Request
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.sink import End, several_answers
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.response import Content, compressed
from inferencehub.gateway.json_codec.answer_json import Wanted
from inferencehub.gateway.metrics import FrontMetrics

T = TypeVar("T")

LARGE_TO_DEFLATE = 2**16  # compressing more takes some ms, so a thread does it
LARGE_JSON = 2**20  # reading or writing more JSON takes some ms, so a thread does it


class Endpoint(Protocol):
    """Answers the requests of some paths."""

    method: str  # the HTTP method that it accepts

    def begin(self, call: HttpCall) -> None:
        """The body is complete: submit the call to the model, or answer directly.

        Raises:
            HubError: if something is wrong with the request.
        """

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """The content of the HTTP answer, made from the model's answer.

        Raises:
            HubError: if the model's answer cannot be shown.
        """

    def error(self, error: HubError) -> bytes:
        """The content of the answer to a request that failed."""


class WayOut(Protocol):
    """What every answer passes through; see `Edge`."""

    draining: bool
    bytes_held: ByteBudget
    threads: ThreadPoolExecutor  # for what would hold up the event loop
    metrics: FrontMetrics

    def lines(self, call: HttpCall, now: float) -> bytes:
        """Header lines that every answer carries; `now` is on the clock of `time.monotonic`."""

    def refusal(self, call: HttpCall, error: Exception) -> tuple[int, bytes, Sequence[Buffer]]:
        """Status, header lines and content of the answer to a request that failed."""

    def again(self, call: HttpCall) -> None:
        """Check whether a call whose answers go on may do so; HubError says why not."""

    def close(self, call: HttpCall, status: int, now: float) -> None:
        """The request is answered, or its caller has left."""


class HttpCall(Request):
    """See the module's text.

    Args:
        edge: what answers pass through.
        head: the request's head.
        most_bytes: the largest body that is accepted.
        exchange: the call, in the form that all fronts share.
        endpoint: what answers the request.
    """

    __slots__ = ("edge", "ended", "endpoint", "exchange", "reply", "task", "wanted")
    several = False
    reply: Reply

    def __init__(
        self, edge: WayOut, head: Head, most_bytes: int, exchange: Exchange, endpoint: Endpoint
    ) -> None:
        super().__init__(head, most_bytes)
        self.edge = edge
        self.exchange = exchange
        self.endpoint = endpoint
        self.ended = False
        self.task: asyncio.Task[None] | None = None
        self.wanted: Wanted | None = None

    def drop_body(self) -> None:
        """Drop the body: the request was read from it. From now on the lane accounts for the request's bytes."""
        self.exchange.size = len(self.body)
        self.body = b""
        if self.held:
            self.release()

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`. There will be several answers, and these endpoints can carry only one."""
        if not self.ended:
            self.fail(several_answers(response.model))
            self.exchange.leave()

    def end(self, end: End) -> None:
        """See `Sink`."""
        if self.ended:
            return
        if type(end) is not InferResponse:  # not raised: the traceback would keep the request alive
            self.fail(end if isinstance(end, HubError) else several_answers(self.exchange.model))
            return
        try:
            job = self.exchange.job
            if (job is None or job.trip.size >= LARGE_JSON or job.has_parts) and end.size >= LARGE_JSON:
                self.run(self._send_beside(end))
                return
            content = self.endpoint.content(self, end)
        except Exception as error:
            self.fail(error)
        else:
            if sum(map(len, content[1])) < WORTH:
                self.send(200, *content)
            else:
                self._send_large(content)

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        self.send(*self.edge.refusal(self, error))

    def send(self, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
        """Answer with a status, header lines, and a body in parts; later calls have no effect."""
        if self.ended:
            return
        self.ended = True
        edge, reply = self.edge, self.reply
        del self.reply  # it refers back to this call, and such a cycle waits for the garbage collector
        if edge.draining:
            reply.close = True
        now = monotonic()
        reply.send(status, lines + edge.lines(self, now), parts)
        edge.close(self, status, now)

    def start(self, status: int, lines: bytes) -> None:
        """Begin an answer of unknown length; `finish` ends it."""
        if self.edge.draining:
            self.reply.close = True
        self.reply.start(status, lines + self.edge.lines(self, monotonic()))

    def finish(self, status: int) -> None:
        """End an answer that was started."""
        self.ended = True
        reply = self.reply
        del self.reply
        reply.end()
        self.edge.close(self, status, monotonic())

    def leave(self) -> None:
        """The caller has hung up."""
        if self.ended:
            return
        self.ended = True
        if self.task is not None:
            self.task.cancel()
        if hasattr(self, "reply"):  # it is set when the body is complete
            del self.reply
        self.exchange.leave()
        self.edge.close(self, Kind.CALLER_LEFT.http, monotonic())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task. An exception becomes the answer; if the caller hangs up, the task is cancelled."""
        self.task = asyncio.get_running_loop().create_task(work)
        self.task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        if self.task is task:  # else another one has begun at its end
            self.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _send_large(self, content: Content) -> None:
        """Answer, compressed if the caller accepts it."""
        coding = coding_for(self.head.fields.get(b"accept-encoding", b""))
        if not coding:
            self.send(200, content[0] + VARY, content[1])
        elif sum(map(len, content[1])) < LARGE_TO_DEFLATE:
            self.send(200, *compressed(content, coding))
        else:
            self.run(self._deflate_beside(content, coding))

    async def _deflate_beside(self, content: Content, coding: bytes) -> None:
        self.send(200, *await self.beside(compressed, content, coding))

    def decode(self, decode: Callable[[Body], T], then: Callable[[T], None]) -> None:
        """Decode the body, a large one in a thread, and go on with the result, unless the caller has left meanwhile."""
        if len(self.body) <= LARGE_JSON:
            then(decode(self.body))
        else:
            self.run(self._decode_beside(decode, then))

    async def _decode_beside(self, decode: Callable[[Body], T], then: Callable[[T], None]) -> None:
        decoded = await self.beside(decode, self.body)
        if not self.ended:
            then(decoded)

    async def _send_beside(self, response: InferResponse) -> None:
        content = await self.beside(self.endpoint.content, self, response)
        coding = coding_for(self.head.fields.get(b"accept-encoding", b""))
        if coding:
            self.send(200, *await self.beside(compressed, content, coding))
        else:
            self.send(200, content[0] + VARY, content[1])

    async def beside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` in a thread and return its result.

        The body counts in the byte budget until the thread has ended, also if the caller leaves before.
        """
        loop, held, budget = asyncio.get_running_loop(), self.held, self.edge.bytes_held
        self.held = 0
        future = self.edge.threads.submit(work, *arguments)
        if held:
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(budget.give, held))
        try:
            return await asyncio.wrap_future(future)
        finally:
            del (
                future,
                arguments,
            )  # its error has a traceback with this frame: a cycle that would keep the body
