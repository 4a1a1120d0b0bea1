"""The HTTP border: what every request gets on its way in and out, in one place.

In:  a request id, taken from `X-Request-Id` or made; the path's endpoint.
Out: errors as `{"error": …}` with the status of their kind, `X-Request-Id`, `Server-Timing`, `X-Served-By`; one access
line; one observation. A path may have a shape of error of its own, as `/predict` does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.job import Job
from inferencehub.core.process.logs import AccessLog, now
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import NO_TRIP, Trip
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.http_api.access_line import AccessLine
from inferencehub.gateway.http_api.body import CallerLeft
from inferencehub.gateway.http_api.response import CLOSE, JSON, Defaults, ShownTrip, headers, ms, send_reply
from inferencehub.gateway.json_codec.answer_json import Wanted, encode
from inferencehub.gateway.metrics import Metrics

if TYPE_CHECKING:
    from inferencehub.gateway.routing.model_lane import ModelLane

logger = logging.getLogger(__name__)

SOUND_ID = re.compile(rb"[!-~]{1,128}")

ErrorShape = Callable[[HubError], bytes]


def plain_error(error: HubError) -> bytes:
    """An error as every path answers it that has no shape of its own."""
    return encode({"error": error.detail})


class Exchange:
    """One request and its answer, for those who want to know what became of it.

    Args:
        method, path, headers: of the request; header names in lower case.
        id: its id.
        error_body: how its path writes an error.
        bytes_held: the process's budget for what it holds.
    """

    __slots__ = (
        "bytes_held",
        "error_body",
        "headers",
        "held",
        "id",
        "job",
        "kind",
        "lane",
        "method",
        "model",
        "path",
        "started",
        "status",
        "wanted",
    )

    def __init__(
        self,
        method: str,
        path: str,
        headers: Mapping[bytes, bytes],
        id: str,
        error_body: ErrorShape,
        bytes_held: ByteBudget,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.id = id
        self.error_body = error_body
        self.bytes_held = bytes_held
        self.held = 0
        self.started = monotonic()
        self.status = 0
        self.model = ""  # only ever one that a backend listed: it becomes a label
        self.lane: ModelLane | None = None
        self.job: Job | None = None
        self.kind = "ok"
        self.wanted: Wanted | None = None

    def hold(self, size: int) -> None:
        """Account for `size` bytes more of the request's body.

        Raises:
            HubError: BUSY where the process holds too many.
        """
        self.bytes_held.take(size)
        self.held += size

    def release(self) -> None:
        """The body is no longer held: it became a job, which accounts for itself, or the request has ended."""
        self.bytes_held.give(self.held)
        self.held = 0

    def leave(self) -> None:
        """Nobody waits for the model's answer any more, or it is there."""
        if self.lane is not None and self.job is not None:
            self.lane.leave(self.job)


class Border:
    """Both ways in pass it: ASGI, whose outermost application it is, and the short way of `direct.py`.

    Args:
        app: what is inside.
        metrics: where answers are counted.
        access: where access lines go; None for nowhere.
        draining: whether the process is about to end; answers then close their connections.
        bytes_held: the process's budget for what it holds.
        shapes: by path, how it writes an error where that is not `plain_error`.
    """

    def __init__(
        self,
        app: Any,
        metrics: Metrics,
        access: AccessLog | None,
        draining: Callable[[], bool],
        bytes_held: ByteBudget,
        shapes: Mapping[str, ErrorShape],
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.access = access
        self.draining = draining
        self.bytes_held = bytes_held
        self.shapes = shapes
        self._prefix = token_hex(6)
        self._number = count(1)
        self._shown = ShownTrip(NO_TRIP)
        self.defaults = Defaults()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        exchange = scope.get("exchange")  # there where the short way was tried first
        if exchange is None:
            exchange = self.open(scope["method"], scope["path"], dict(scope["headers"]))
        scope["exchange"] = exchange
        scope["app"] = self  # so that Starlette's routes raise their 404 and 405 instead of answering them

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *headers(self.lines(exchange))]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except CallerLeft:
            caller_left(exchange)
        except Exception as error:
            if exchange.status:
                self.translate(exchange, error)
                return  # the answer has begun; what is left is to end the connection, which uvicorn does
            await send_reply(sending, *self.refusal(exchange, error))
        finally:
            self.close(exchange)

    def open(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Exchange:
        """A request's head is there; whoever opens an exchange closes it."""
        self.metrics.begun()
        shape = self.shapes.get(path, plain_error)
        return Exchange(method, path, headers, self._id(headers), shape, self.bytes_held)

    def close(self, exchange: Exchange) -> None:
        """The request is answered, or its caller has left."""
        if exchange.held:
            exchange.release()
        took = monotonic() - exchange.started
        self.metrics.answered(exchange.model, exchange.status, took)
        if self.access is not None:
            self._log(self.access, exchange, took)

    def _id(self, headers: Mapping[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and SOUND_ID.fullmatch(given):
            return str(given, "ascii")
        return f"{self._prefix}-{next(self._number):x}"

    def lines(self, exchange: Exchange) -> bytes:
        """What the head of every answer carries."""
        id, job = exchange.id.encode(), exchange.job
        total = (monotonic() - exchange.started) * 1e3
        close = CLOSE if self.draining() else b""
        if job is None:
            return b"x-request-id: %b\r\nserver-timing: total;dur=%.3f\r\n%b" % (id, total, close)
        shown = self._shown_of(job.trip)
        return b"x-request-id: %b\r\nserver-timing: queue;dur=%.3f, %btotal;dur=%.3f\r\n%b%b" % (
            (id, job.waited * 1e3, shown.timing, total, shown.served_by, close)
        )

    def _shown_of(self, trip: Trip) -> ShownTrip:
        """A batch's jobs are answered one after another, so what they share is written once."""
        if self._shown.trip is not trip:
            self._shown = ShownTrip(trip)
        return self._shown

    def translate(self, exchange: Exchange, error: Exception) -> HubError:
        """What a caller may read of an exception; the exchange's kind from now on."""
        if isinstance(error, HTTPException):
            error = routing_error(error, exchange)
        elif not isinstance(error, HubError):
            logger.error("request failed", extra={"id": exchange.id, "path": exchange.path}, exc_info=error)
            error = HubError(
                Kind.MODEL_FAILED, f"the gateway failed on this request; its log has it under {exchange.id}"
            )
        exchange.kind = error.kind.label
        return error

    def refusal(self, exchange: Exchange, error: Exception) -> tuple[int, bytes, Sequence[Buffer]]:
        """Status, lines of the head and content of an error's answer."""
        told = self.translate(exchange, error)
        lines = JSON
        if told.kind in (Kind.BUSY, Kind.NOT_READY):
            lines += b"retry-after: %d\r\n" % told.retry_after
        if isinstance(told, WrongMethod):
            lines += b"allow: %b\r\n" % told.allow.encode()
        if told.kind is Kind.TOO_SLOW:
            lines += CLOSE  # the rest of the body would be read as the next request
        return told.kind.http, lines, (exchange.error_body(told),)

    def _log(self, access: AccessLog, exchange: Exchange, took: float) -> None:
        job = exchange.job
        shown = self._shown_of(job.trip if job is not None else NO_TRIP)
        trip = shown.trip
        access.add(
            AccessLine(
                now(),
                access.tier,
                "request",
                exchange.id,
                exchange.method,
                exchange.path,
                exchange.model,
                exchange.status,
                exchange.kind,
                trip.rows,
                ms(took),
                ms(job.waited) if job is not None else 0.0,
                shown.batch_ms,
                shown.network_ms,
                shown.compute_ms,
                trip.served_by,
            )
        )


def caller_left(exchange: Exchange) -> None:
    """Nobody reads the answer any more."""
    exchange.status, exchange.kind = Kind.CALLER_LEFT.http, Kind.CALLER_LEFT.label


def routing_error(error: HTTPException, exchange: Exchange) -> HubError:
    """Starlette's 404 or 405 as ours."""
    path = exchange.path[:120]
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return WrongMethod(f"'{path}' does not take {exchange.method[:20]}, expected {allow}", allow)
    return HubError(
        Kind.NOT_FOUND, f"there is nothing at '{path}', expected one of the paths that /docs shows"
    )


class WrongMethod(HubError):
    """A method that a path does not take; `allow` lists those that it does."""

    def __init__(self, detail: str, allow: str) -> None:
        super().__init__(Kind.WRONG_METHOD, detail)
        self.allow = allow
