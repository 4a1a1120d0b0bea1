"""The HTTP border: what every request gets on its way in and out, in one place.

In:  a request id, taken from `X-Request-Id` or made; the path's endpoint.
Out: errors as `{"error": …}` with the status of their kind, `X-Request-Id`, `Server-Timing`, `X-Served-By`; one access
line; one observation. A path may have a shape of error of its own, as `/predict` does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from itertools import count
from secrets import token_hex
from time import monotonic
from typing import Any

from starlette.exceptions import HTTPException

from inferencehub.core.batching import ByteBudget, Job
from inferencehub.core.errors import HubError, Kind
from inferencehub.core.logs import AccessLog
from inferencehub.gateway.body import CallerLeft
from inferencehub.gateway.codec import encode
from inferencehub.gateway.metrics import Metrics

logger = logging.getLogger(__name__)

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
SOUND_ID = re.compile(rb"[!-~]{1,128}")


ErrorShape = Callable[[HubError], bytes]


def plain_error(error: HubError) -> bytes:
    """An error as every path answers it that has no shape of its own."""
    return encode({"error": error.detail})


class Exchange:
    """One request and its answer, for those who want to know what became of it."""

    __slots__ = (
        "bytes_held",
        "error_body",
        "held",
        "id",
        "job",
        "kind",
        "model",
        "scope",
        "started",
        "status",
    )

    def __init__(self, scope: Any, id: str, error_body: ErrorShape, bytes_held: ByteBudget) -> None:
        self.bytes_held = bytes_held
        self.held = 0
        self.scope = scope
        self.id = id
        self.started = monotonic()
        self.status = 0
        self.model = ""  # only ever one that a backend listed: it becomes a label
        self.job: Job | None = None
        self.kind = "ok"
        self.error_body = error_body

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


class Border:
    """The outermost ASGI application.

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

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        shape = self.shapes.get(scope["path"], plain_error)
        exchange = scope["exchange"] = Exchange(scope, self._id(scope["headers"]), shape, self.bytes_held)
        scope["app"] = self  # so that Starlette's routes raise their 404 and 405 instead of answering them

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers(exchange)]
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, sending)
        except HubError as error:
            await self._answer_error(exchange, error, sending)
        except HTTPException as error:
            await self._answer_error(exchange, routing_error(error, scope), sending)
        except CallerLeft:
            exchange.status, exchange.kind = Kind.CALLER_LEFT.http, Kind.CALLER_LEFT.label
        except Exception:
            logger.exception("request failed", extra={"id": exchange.id, "path": scope["path"]})
            failure = HubError(
                Kind.MODEL_FAILED, f"the gateway failed on this request; its log has it under {exchange.id}"
            )
            await self._answer_error(exchange, failure, sending)
        finally:
            exchange.release()
            self.metrics.in_flight.dec()
            took = monotonic() - exchange.started
            self.metrics.answered(exchange.model, exchange.status, took)
            if self.access is not None:
                self._log(self.access, exchange, took)

    def _id(self, headers: Any) -> str:
        for name, value in headers:
            if name == b"x-request-id" and SOUND_ID.fullmatch(value):
                return str(value, "ascii")
        return f"{self._prefix}-{next(self._number):x}"

    def _headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", exchange.id.encode())]
        job = exchange.job
        total = (monotonic() - exchange.started) * 1e3
        if job is None:
            headers.append((b"server-timing", b"total;dur=%.3f" % total))
        else:
            t = job.times
            timing = (t.queue * 1e3, t.batch * 1e3, t.network * 1e3, t.compute * 1e3, total)
            headers.append(
                (
                    b"server-timing",
                    b"queue;dur=%.3f, batch;dur=%.3f, network;dur=%.3f, compute;dur=%.3f, total;dur=%.3f"
                    % timing,
                )
            )
            if job.served_by:
                headers.append((b"x-served-by", job.served_by.encode()))
        if self.draining():
            headers.append(CLOSE)
        return headers

    async def _answer_error(self, exchange: Exchange, error: HubError, send: Any) -> None:
        exchange.kind = error.kind.label
        if exchange.status:
            return  # the answer has begun; what is left is to end the connection, which uvicorn does
        body = exchange.error_body(error)
        headers = [JSON, (b"content-length", str(len(body)).encode())]
        if error.kind in (Kind.BUSY, Kind.NOT_READY):
            headers.append((b"retry-after", str(error.retry_after).encode()))
        if isinstance(error, WrongMethod):
            headers.append((b"allow", error.allow.encode()))
        if error.kind is Kind.TOO_SLOW:
            headers.append(CLOSE)  # the rest of the body would be read as the next request
        await send({"type": "http.response.start", "status": error.kind.http, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _log(self, access: AccessLog, exchange: Exchange, took: float) -> None:
        job = exchange.job
        times = job.times if job is not None else None
        access.write(
            event="request",
            id=exchange.id,
            method=exchange.scope["method"],
            path=exchange.scope["path"],
            model=exchange.model,
            status=exchange.status,
            kind=exchange.kind,
            batch=job.batch_rows if job is not None else 0,
            ms=round(took * 1e3, 3),
            queue_ms=round(times.queue * 1e3, 3) if times else 0,
            batch_ms=round(times.batch * 1e3, 3) if times else 0,
            network_ms=round(times.network * 1e3, 3) if times else 0,
            compute_ms=round(times.compute * 1e3, 3) if times else 0,
            served_by=job.served_by if job is not None else "",
        )


def routing_error(error: HTTPException, scope: Any) -> HubError:
    """Starlette's 404 or 405 as ours."""
    path = scope["path"][:120]
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return WrongMethod(f"'{path}' does not take {scope['method'][:20]}, expected {allow}", allow)
    return HubError(
        Kind.NOT_FOUND, f"there is nothing at '{path}', expected one of the paths that /docs shows"
    )


class WrongMethod(HubError):
    """A method that a path does not take; `allow` lists those that it does."""

    def __init__(self, detail: str, allow: str) -> None:
        super().__init__(Kind.WRONG_METHOD, detail)
        self.allow = allow
