"""The ops port: its pages, and that callers who misuse it cost little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import Counter

from inferencehub.core.http1.asgi import AsgiHandler
from inferencehub.core.http1.limits import Limits
from inferencehub.core.http1.server import HttpServer
from inferencehub.core.process.ops_port import Answer, Asked, OpsServer
from inferencehub.core.process.scrape.written import Registry
from tests.gateway.raw import Raw, request
from tests.hub import eventually

PAGES = "/metrics, /healthz, /readyz, /more, /live"
ended: list[str] = []  # paths of `live` that are told no more


async def live(scope: Any, receive: Any, send: Any) -> None:
    """Tells its path, and then says nothing more until its caller leaves."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": True})
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(scope["path"])


def more(asked: Asked) -> Answer:
    """A page that tells what it was asked."""
    return 200, "text/plain", f"{asked.query.decode()} {asked.host}".encode()


@asynccontextmanager
async def ops(reason: str = "", **limits: Any) -> AsyncIterator[HttpServer]:
    """An ops port."""
    registry = Registry()
    Counter("seen", "what was seen", registry=registry).inc()
    others = {"/live": AsgiHandler(live, 0)}
    server = OpsServer(0, registry, lambda: reason, {"/more": more}, Limits(**limits), others=others)
    await server.start()
    yield server
    await server.stop(0)
    server.cut_off()


@pytest.mark.parametrize("reason", ["", "it is starting"])
async def test_pages(reason: str) -> None:
    async with ops(reason) as server, Raw(server.port) as raw:
        answer = await raw.ask("GET", "/readyz?verbose")
        assert (answer.status, answer.json) == (
            503 if reason else 200,
            {"ready": not reason, "reason": reason},
        )
        assert (await raw.ask("GET", "/healthz")).json == {"live": True}
        answer = await raw.ask("GET", "/metrics")
        assert (answer.headers["content-type"].split(";")[0], b"seen_total 1.0" in answer.body) == (
            "text/plain",
            True,
        )
        answer = await raw.ask("GET", "/metrics", None, "accept: application/openmetrics-text")
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert (await raw.ask("GET", "/more?a=1")).body.startswith(b"a=1 ")
        assert (await raw.ask("GET", "/more?a=1")).body.endswith(b"127.0.0.1")
        answer = await raw.ask("GET", "/other")
        assert (answer.status, answer.json["error"]) == (404, f"no page '/other', expected one of {PAGES}")
        answer = await raw.ask("OPTIONS", "*")
        assert (answer.status, answer.json["error"]) == (404, f"no page '*', expected one of {PAGES}")


async def test_an_endless_head_is_refused() -> None:
    async with ops(linger_s=0.1) as server, Raw(server.port) as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\nhost: h\r\nx: ")
        await raw.send(b"x" * 200_000)
        assert (await raw.read()).status == 431
        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):  # noqa: PT012  until the server has closed
                while True:
                    await raw.send(b"x" * 65_536)


async def test_silent_connections_are_ended() -> None:
    async with ops(header_timeout_s=0.2) as server:
        silent = [await Raw(server.port).__aenter__() for _ in range(50)]
        assert [await raw.closed() for raw in silent] == [b""] * 50
        async with Raw(server.port) as raw:
            assert (await raw.ask("GET", "/healthz")).status == 200


async def test_too_many_connections_are_closed_at_once() -> None:
    async with ops(max_connections=3) as server:
        kept = [await Raw(server.port).__aenter__() for _ in range(3)]
        for raw in kept:
            assert (await raw.ask("GET", "/healthz")).status == 200
        async with Raw(server.port) as raw:
            assert await raw.closed() == b""
        await kept.pop().__aexit__()
        while len(server.connections) == 3:  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.001)
        async with Raw(server.port) as raw:
            assert (await raw.ask("GET", "/healthz")).status == 200


async def test_a_body_is_not_waited_for() -> None:
    async with ops(body_timeout_s=0.2) as server, Raw(server.port) as raw:
        assert (await raw.ask("GET", "/healthz", b"x" * 100_000)).status == 200
        await raw.send(request("POST", "/healthz", b"", "content-length: 5"))
        assert (await raw.read()).status == 200
        assert await raw.closed() == b""


@pytest.mark.parametrize("leaves", [True, False])
async def test_another_handler_has_all_paths_below_a_name(leaves: bool) -> None:
    ended.clear()
    async with ops() as server:
        async with Raw(server.port) as raw:
            await raw.send(request("GET", "/live/and/more?a=1"))
            await raw.reader.readuntil(b"/live/and/more")
            if not leaves:
                await server.stop(0.1)
                server.cut_off()
        await eventually(lambda: ended == ["/live/and/more"])
