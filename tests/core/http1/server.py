"""A server to test against, its handler, and both event loops to run it on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from inferencehub.core.http1.asgi import answer_error
from inferencehub.core.http1.handler import Handler, Head, Reply, Request
from inferencehub.core.http1.limits import Limits
from inferencehub.core.http1.response import JSON
from inferencehub.core.http1.server import HttpServer
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.values.errors import HubError, Kind

RUN: dict[str, Callable[[Any], Any]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}
MOST = 2**20


def on_both_loops(scenario: Callable[[], Awaitable[None]]) -> Any:
    """A test that runs a scenario on each event loop, for each reads and writes in its own way."""

    @pytest.mark.parametrize("loop", RUN)
    def test(loop: str) -> None:
        RUN[loop](scenario())

    test.__doc__ = scenario.__doc__
    return test


class Echo:
    """Tells each caller what came; GET needs no body.

    /held     is answered once `let_go` is called
    /big?n    is answered with n bytes
    /eager?n  is answered with n pieces of 64 KiB, whether the caller reads or not
    /refused  is refused by its head
    """

    def __init__(self, most_bytes: int = MOST) -> None:
        self.most_bytes = most_bytes
        self.held: list[tuple[Request, Reply]] = []
        self.planned: asyncio.Queue[bytes] = asyncio.Queue()  # targets
        self.gone: asyncio.Queue[bytes] = asyncio.Queue()  # targets of callers that left
        self.begun = 0
        self.changed = asyncio.Event()

    def plan(self, head: Head) -> Request:
        self.planned.put_nowait(head.target)
        error = HubError(Kind.FORBIDDEN, "it is refused") if head.path == b"/refused" else None
        return Request(head, self.most_bytes, error, head.method not in ("GET", "HEAD"))

    def begin(self, request: Request, reply: Reply) -> None:
        self.begun += 1
        self.changed.set()
        if request.error is not None:
            answer_error(reply, request.error)
        elif request.head.path == b"/held":
            self.held.append((request, reply))
        elif request.head.path == b"/big":
            reply.send(200, b"", (bytes(int(request.head.query)),))
        elif request.head.path == b"/eager":
            reply.start(200, b"")
            for _ in range(int(request.head.query)):
                reply.write(bytes(65_536))
            reply.end()
        else:
            tell(request, reply)

    def left(self, request: Request) -> None:
        self.gone.put_nowait(request.head.target)
        self.held = [(one, reply) for one, reply in self.held if one is not request]
        self.changed.set()

    def cut_off(self, request: Request, reply: Reply) -> None:
        answer_error(reply, HubError(Kind.NOT_READY, "the server ends"))

    def let_go(self) -> None:
        """Answer the request that is held for longest."""
        tell(*self.held.pop(0))

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait until something has happened to the handler that makes the condition true."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def tell(request: Request, reply: Reply) -> None:
    """Answer with what came."""
    head, body = request.head, bytes(request.body)
    told = {
        "method": head.method,
        "target": head.target.decode("latin-1"),
        "version": head.version,
        "headers": [[part.decode("latin-1") for part in header] for header in head.headers],
        "size": len(body),
        "body": body[:100].decode("latin-1"),
    }
    request.release()
    reply.send(200, JSON, (json.dumps(told).encode(),))


@asynccontextmanager
async def serving(
    handler: Handler, budget: ByteBudget | None = None, tls: Certificate | None = None, **limits: Any
) -> AsyncIterator[HttpServer]:
    """A server with this handler; what it does not end by itself fails the test."""
    budget = budget or ByteBudget(2**30)
    server = HttpServer(handler, 0, Limits(**limits), budget, tls)
    budget.relieve = server.unread.relieve
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)
        server.cut_off()
        async with asyncio.timeout(60):
            while server.connections:  # noqa: ASYNC110  the server tells nobody
                await asyncio.sleep(0.001)
        assert budget.held == 0
