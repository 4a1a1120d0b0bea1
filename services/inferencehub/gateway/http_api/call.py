"""One HTTP request at the gateway, from its head to its access line; the sink of the model's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, Protocol, TypeVar

from inferencehub.core.http1.handler import Head, Reply, Request
from inferencehub.core.lane.sink import End, several_answers
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.response import Content
from inferencehub.gateway.json_codec.answer_json import Wanted

T = TypeVar("T")

LARGE_JSON = 2**20  # to read or write more JSON takes some ms, which a thread spends


class Endpoint(Protocol):
    """Answers the requests of some paths; between its methods nothing of it runs."""

    method: str  # the one that it takes

    def begin(self, call: HttpCall) -> None:
        """The body is whole: ask the model, whose answers the call takes, or answer.

        Raises:
            HubError: what is wrong with the request.
        """

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """The model's answer as the caller wants it.

        Raises:
            HubError: where it cannot be shown.
        """

    def error(self, error: HubError) -> bytes:
        """The content of an error's answer."""


class WayOut(Protocol):
    """What every answer passes; see `Edge`."""

    draining: bool

    def lines(self, call: HttpCall, now: float) -> bytes:
        """What the head of every answer carries; `now` on the clock of `time.monotonic`."""

    def refusal(self, call: HttpCall, error: Exception) -> tuple[int, bytes, Sequence[Buffer]]:
        """Status, lines of the head and content of an error's answer."""

    def close(self, call: HttpCall, status: int, now: float) -> None:
        """The request is answered, or its caller has left."""


class HttpCall(Request):
    """See the module's text.

    Args:
        edge: what answers go through.
        head: the request's head.
        most_bytes: of its body.
        exchange: the call, as all fronts know it.
        endpoint: who answers.
    """

    __slots__ = ("_several", "edge", "ended", "endpoint", "exchange", "reply", "task", "wanted")
    reply: Reply

    def __init__(
        self, edge: WayOut, head: Head, most_bytes: int, exchange: Exchange, endpoint: Endpoint
    ) -> None:
        super().__init__(head, most_bytes)
        self.edge = edge
        self.exchange = exchange
        self.endpoint = endpoint
        self.ended = self._several = False
        self.task: asyncio.Task[None] | None = None
        self.wanted: Wanted | None = None

    def drop_body(self) -> None:
        """The request has been read out of it, and is accounted for from now on."""
        self.exchange.size = len(self.body)
        self.body = b""
        if self.held:
            self.release()

    def part(self, response: InferResponse) -> None:
        """See `Sink`: these endpoints carry one answer."""
        self._several = True

    def end(self, end: End) -> None:
        """See `Sink`."""
        if self.ended:
            return
        try:
            if type(end) is not InferResponse:
                raise end if isinstance(end, HubError) else several_answers(self.exchange.model)
            if self._several:
                raise several_answers(self.exchange.model)
            job = self.exchange.job
            if (job is None or job.trip.size >= LARGE_JSON) and end.size >= LARGE_JSON:
                self.run(self._send_beside(end))
                return
            content = self.endpoint.content(self, end)
        except Exception as error:
            self.fail(error)
        else:
            self.send(200, *content)

    def fail(self, error: Exception) -> None:
        """Answer an error."""
        self.send(*self.edge.refusal(self, error))

    def send(self, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
        """Answer."""
        if self.ended:
            return
        self.ended = True
        edge, reply = self.edge, self.reply
        del self.reply  # it has this call, and both would be left to the collector
        if edge.draining:
            reply.close = True
        now = monotonic()
        reply.send(status, lines + edge.lines(self, now), parts)
        edge.close(self, status, now)

    def leave(self) -> None:
        """The caller has hung up."""
        if self.ended:
            return
        self.ended = True
        if self.task is not None:
            self.task.cancel()
        if hasattr(self, "reply"):  # there once the body is whole
            del self.reply
        self.exchange.leave()
        self.edge.close(self, Kind.CALLER_LEFT.http, monotonic())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what has to wait; what it raises is answered, and it is cancelled where the caller hangs up."""
        self.task = asyncio.get_running_loop().create_task(work)
        self.task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error if isinstance(error, Exception) else RuntimeError(str(error)))

    async def _send_beside(self, response: InferResponse) -> None:
        content = await asyncio.to_thread(self.endpoint.content, self, response)
        self.send(200, *content)


async def beside(work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gives, done in a thread."""
    return await asyncio.to_thread(work, *arguments)
