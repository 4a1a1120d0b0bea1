"""A handler that runs an ASGI application. Each request runs in a task and gets its whole body in one message.

Specification: ASGI HTTP & WebSocket protocol, version 2.4; without lifespan, websockets and trailers.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from inferencehub.core.http1.handler import Head, Reply, Request
from inferencehub.core.http1.response import JSON
from inferencehub.core.values.errors import HubError, Kind

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
App = Callable[[Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
BODILESS = frozenset(("GET", "HEAD", "OPTIONS"))
FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection"))  # the reply writes these itself
FAILED = HubError(Kind.MODEL_FAILED, "the server failed on this request")
ENDING = HubError(Kind.NOT_READY, "the server ends, and this request took longer than it could wait")


class AsgiRequest(Request):
    """A request for an application; `run` is set while the application runs. `state` is that of its ASGI scope."""

    __slots__ = ("run", "state")
    run: AsgiRun | None
    state: dict[str, Any]


class AsgiHandler:
    """Runs one application; a `Handler`.

    Args:
        app: an ASGI 3 application.
        most_bytes: the largest body that is accepted.
    """

    def __init__(self, app: App, most_bytes: int) -> None:
        self.app = app
        self.most_bytes = most_bytes
        self._tasks: set[asyncio.Task[None]] = set()

    def plan(self, head: Head) -> AsgiRequest:
        """See `Handler`. Methods that need no body do not wait for one."""
        request = AsgiRequest(head, self.most_bytes, needs_body=head.method not in BODILESS)
        request.run, request.state = None, {}
        return request

    def begin(self, request: Request, reply: Reply) -> None:
        """See `Handler`."""
        assert isinstance(request, AsgiRequest)
        if request.error is not None:
            answer_error(reply, request.error)
            return
        run = request.run = AsgiRun(request, reply)
        task = run.task = asyncio.get_running_loop().create_task(run.run(self.app))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def left(self, request: Request) -> None:
        """See `Handler`."""
        assert isinstance(request, AsgiRequest)
        if request.run is not None:
            request.run.cancel()
            request.run = None

    def cut_off(self, request: Request, reply: Reply) -> None:
        """See `Handler`. An answer that has begun is aborted."""
        if not reply.started:
            answer_error(reply, ENDING)
        self.left(request)


def answer_error(reply: Reply, error: HubError) -> None:
    """Answer with an error, as JSON."""
    lines = JSON
    if error.kind in (Kind.BUSY, Kind.NOT_READY):
        lines += b"retry-after: %d\r\n" % error.retry_after
    body = json.dumps({"error": error.detail}, separators=(",", ":"), ensure_ascii=False).encode()
    reply.send(error.kind.http, lines, (body,))


class AsgiRun:
    """One call of an application, with its `receive` and `send`."""

    def __init__(self, request: AsgiRequest, reply: Reply) -> None:
        self._request = request
        self._reply = reply
        self._gone = asyncio.Event()  # the caller has left, or the answer has ended
        self._drained = asyncio.Event()
        self._given = False  # whether the application has received the body
        self._start: tuple[int, bytes] | None = None
        self.task: asyncio.Task[None] | None = None

    async def run(self, app: App) -> None:
        """Call the application; if it fails before its answer, answer with an error."""
        reply, head = self._reply, self._request.head
        try:
            await app(scope_of(head, self._request.state), self._receive, self._send)
            if not self._gone.is_set():
                raise RuntimeError("the application ended before its answer did")
        except Exception:
            if self._gone.is_set():
                logger.warning("an application failed behind its answer", exc_info=True)
                return
            logger.exception("an application failed", extra={"path": str(head.path, "latin-1")})
            if reply.started:
                reply.abort()
            else:
                reply.close = True
                answer_error(reply, FAILED)
        finally:
            self.leave()
            self.task = None
            self._request.run = None  # else they would form a reference cycle

    def cancel(self) -> None:
        """The caller has left: the application need not go on."""
        self.leave()
        if self.task is not None:
            self.task.cancel()

    def leave(self) -> None:
        """The caller has left, or the answer has ended."""
        self._gone.set()
        self._drained.set()

    async def _receive(self) -> Message:
        if not self._given:
            self._given = True
            body, self._request.body = self._request.body, b""
            return {"type": "http.request", "body": bytes(body), "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            return
        reply = self._reply
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            reply.close = reply.close or (b"connection", b"close") in headers
            lines = [b"%b: %b\r\n" % header for header in headers if header[0] not in FRAMING]
            self._start = message["status"], b"".join(lines)
            return
        if message["type"] != "http.response.body" or self._start is None:
            raise RuntimeError(f"expected http.response.start and .body, got {message['type']}")
        body, more = message.get("body", b""), message.get("more_body", False)
        if not more and not reply.started:
            reply.send(*self._start, (body,))
            self.leave()
            return
        if not reply.started:
            reply.drained = self._drained.set
            reply.start(*self._start)
        self._drained.clear()
        if not reply.write(body) and more:
            await self._drained.wait()
        if not more:
            reply.end()
            self.leave()


def scope_of(head: Head, state: dict[str, Any]) -> dict[str, Any]:
    """The ASGI scope of a request; `state` is what its handler tells the application."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": head.version,
        "method": head.method,
        "scheme": "http",
        "path": unquote(head.path.decode("ascii")),
        "raw_path": head.path,
        "query_string": head.query,
        "root_path": "",
        "headers": head.headers,
        "client": None,
        "server": None,
        "state": state,
    }
