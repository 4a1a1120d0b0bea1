"""The short way: a call of a model that came whole is answered without ASGI, without a task and without a timer.

Nearly all calls are so, for a model that is known; a large body that comes in pieces is put together first
(`gathered.py`). Whatever waits for more than the model's answer takes the long way through ASGI, where `infer.py` awaits
it: a body of unknown size, a compressed one, much JSON, a model that may still appear, a caller that does not read its answers, a page of another origin. Both ways share the endpoints and the
border, so that they differ in nothing that a caller can see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from inferencehub.core.lane.sink import Tell
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.http_api.body import Body
from inferencehub.gateway.http_api.edge import Border, Exchange, caller_left
from inferencehub.gateway.http_api.response import CLOSE, Reply

if TYPE_CHECKING:
    from inferencehub.gateway.http_api.connection import Connection

LARGE_BYTES = 2**20  # turning more into JSON takes some ms: that is done in a thread
LONG_WAY = frozenset((b"content-encoding", b"expect"))  # headers of a request that is not for the short way


class Endpoint(Protocol):
    """A call of a model in two halves; in between nothing of it runs."""

    def begin(self, exchange: Exchange, body: Body, tell: Tell) -> bool:
        """Ask the model, whose answer `tell` gets; False where it is not known, and so the long way is to be taken.

        Raises:
            HubError: what is wrong with the request.
        """

    def end(self, exchange: Exchange, response: InferResponse) -> Reply:
        """The model's answer as the caller wants it.

        Raises:
            HubError: where it cannot be told.
        """


class ShortWay:
    """Who takes it, and by whom they are answered.

    Args:
        border: what every request passes.
        find: the endpoint at a URL; None where there is none that this way leads to.
        cors: whether pages of other origins may call; their calls take the long way.
        most_bytes: of a body.
    """

    def __init__(
        self, border: Border, find: Callable[[bytes], Endpoint | None], cors: bool, most_bytes: int
    ) -> None:
        self.border = border
        self.most_bytes = most_bytes
        self.find = find
        self._long = LONG_WAY | {b"origin"} if cors else LONG_WAY

    def endpoint(self, url: bytes, headers: Mapping[bytes, bytes]) -> Endpoint | None:
        """Who answers a POST whose head is there; None where it is to take the long way."""
        endpoint = self.find(url)
        return endpoint if endpoint is not None and self._long.isdisjoint(headers) else None


class Call:
    """One request that came whole; to its connection it is what a cycle of uvicorn's is."""

    __slots__ = (
        "_border",
        "_connection",
        "_endpoint",
        "_task",
        "exchange",
        "keep_alive",
        "response_complete",
    )
    more_body = False

    def __init__(
        self,
        connection: Connection,
        border: Border,
        endpoint: Endpoint,
        path: str,
        fields: Mapping[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self._border = border
        self._endpoint = endpoint
        self.exchange = border.open("POST", path, fields)
        self.keep_alive = keep_alive
        self.response_complete = False

    def begin(self, body: Body) -> bool:
        """Give the body to its endpoint; False where the long way is to be taken after all."""
        exchange = self.exchange
        try:
            if exchange.held:
                exchange.release()  # it came in pieces
            exchange.bytes_held.check(len(body))  # it becomes a job, or is gone, before anything else happens
            return self._endpoint.begin(exchange, body, self._ended)
        except Exception as error:
            self._send(*self._border.refusal(exchange, error))
            return True

    def refuse(self, error: HubError) -> None:
        """Answer an error instead."""
        self._send(*self._border.refusal(self.exchange, error))

    def cut_off(self) -> None:
        """The process ends, and has waited long enough."""
        self.refuse(
            HubError(Kind.NOT_READY, "the gateway ends, and this request took longer than it could wait")
        )
        self.exchange.leave()

    def leave(self) -> None:
        """The caller has hung up."""
        if self.exchange.job is None:
            self._left()
        else:
            self.exchange.leave()

    def _ended(self, outcome: InferResponse | HubError | None) -> None:
        if self.response_complete:
            return
        if outcome is None:
            self._left()
            return
        try:
            if isinstance(outcome, HubError):
                raise outcome
            if outcome.size >= LARGE_BYTES:
                self._task = self._connection.loop.create_task(self._end_beside(outcome))
                return
            reply = self._endpoint.end(self.exchange, outcome)
        except Exception as error:
            self._send(*self._border.refusal(self.exchange, error))
        else:
            self._send(200, *reply)

    async def _end_beside(self, response: InferResponse) -> None:
        try:
            reply = await asyncio.to_thread(self._endpoint.end, self.exchange, response)
        except Exception as error:
            self._send(*self._border.refusal(self.exchange, error))
        else:
            self._send(200, *reply)

    def _send(self, status: int, lines: bytes, content: Sequence[Buffer]) -> None:
        connection, exchange, border = self._connection, self.exchange, self._border
        if connection.transport.is_closing():
            self._left()
            return
        exchange.status = status
        lines = b"%bcontent-length: %d\r\n%b" % (lines, sum(map(len, content)), border.lines(exchange))
        if CLOSE in lines:
            self.keep_alive = False
        elif not self.keep_alive:
            lines += CLOSE
        default = border.defaults.lines(connection.server_state.default_headers)
        connection.transport.write(b"".join((STATUS_LINE[status], default, lines, b"\r\n", *content)))
        border.close(exchange)
        self.response_complete = True
        if not self.keep_alive:
            connection.transport.close()
        connection.answered()

    def _left(self) -> None:
        self.response_complete = True
        caller_left(self.exchange)
        self._border.close(self.exchange)
