"""ASGI applications behind the adapter."""

from __future__ import annotations

import asyncio
from typing import Any

from inferencehub.core.http1.asgi import AsgiHandler
from inferencehub.core.http1.server import HttpServer
from tests.core.http1.server import MOST, on_both_loops, serving
from tests.gateway.raw import Raw, request
from tests.hub import eventually

PIECE = b"x" * 65_536


class App:
    """Answers by path; `said` is what it was told, `left` is set once a caller has gone."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.wrote = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        message = await receive()
        start = {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"x-a", b"b"), (b"content-length", b"9")],
        }
        match scope["path"]:
            case "/raise":
                raise ValueError("secret")
            case "/nothing":
                return
            case "/half":
                await send(start)
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
                raise ValueError("secret")
            case "/wait":
                try:
                    await asyncio.Event().wait()
                finally:
                    self.left.set()
            case "/stream":
                await send(start)
                try:
                    for _ in range(int(scope["query_string"])):
                        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                        self.wrote += 1
                        await asyncio.sleep(0)
                    await send({"type": "http.response.body"})
                finally:
                    self.left.set()
            case _:
                await send(start)
                await send({"type": "http.response.body", "body": message["body"]})


def server(app: App, **limits: Any) -> Any:
    """A server of it."""
    return serving(AsgiHandler(app, MOST), **limits)


async def _whole() -> None:
    app = App()
    async with server(app) as http, Raw(http.port) as raw:
        for size in (0, 5, 500_000):
            answer = await raw.ask("POST", "/a%20b?c=d", b"x" * size, "X-One: 1")
            assert (answer.status, answer.body, answer.headers["x-a"]) == (201, b"x" * size, "b")
            assert answer.headers["content-length"] == str(size)
        scope = app.scopes[0]
        told = {
            name: scope[name]
            for name in ("type", "http_version", "method", "path", "raw_path", "query_string")
        }
        assert told == {
            "type": "http", "http_version": "1.1", "method": "POST", "path": "/a b", "raw_path": b"/a%20b",
            "query_string": b"c=d",
        }  # fmt: skip
        assert scope["headers"] == [(b"host", b"hub"), (b"x-one", b"1"), (b"content-length", b"0")]
        assert (await raw.ask("POST", "/", b"x" * (MOST + 1))).status == 413
        await raw.send(request("GET", "/", None, "content-length: 5"))
        assert (await raw.read()).status == 201, "a page needs no body"


async def _fails() -> None:
    async with server(App()) as http:
        for path in ("/raise", "/nothing"):
            async with Raw(http.port) as raw:
                answer = await raw.ask("POST", path, b"{}")
                assert (answer.status, answer.json) == (500, {"error": "the server failed on this request"})
                assert answer.headers["connection"] == "close"
        async with Raw(http.port) as raw:
            await raw.send(request("GET", "/half"))
            came = await raw.closed()
            assert came.endswith(b"4\r\nhalf\r\n"), (
                "it has no end, so that the caller sees that something is missing"
            )


async def _streams() -> None:
    app = App()
    async with server(app) as http, Raw(http.port) as raw:
        await raw.send(request("GET", "/stream?3"))
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert b"content-length" not in head
        chunk = b"10000\r\n" + PIECE + b"\r\n"
        assert await raw.reader.readexactly(3 * len(chunk) + 5) == chunk * 3 + b"0\r\n\r\n"
        await raw.send(request("GET", "/stream?1000"))  # 64 MB, more than the sockets hold
        await asyncio.sleep(0.2)
        wrote = app.wrote
        assert wrote < 500, "it waits for its caller"
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert (await raw.reader.readexactly(1000 * len(chunk) + 5)).endswith(b"0\r\n\r\n")
        assert (await raw.ask("POST", "/", b"x")).body == b"x"
        await raw.send(request("HEAD", "/stream?3") + request("POST", "/", b"y"))
        await raw.reader.readuntil(b"\r\n\r\n")
        assert (await raw.read()).body == b"y"
        await raw.send(b"GET /stream?3 HTTP/1.0\r\n\r\n")
        assert (await raw.closed()).endswith(b"\r\n\r\n" + PIECE * 3)


async def _caller_leaves() -> None:
    """The application is cancelled, whatever it waits for."""
    for path in ("/wait", "/stream?1000000"):
        await _caller_of(path)


async def _caller_of(path: str) -> None:
    app = App()
    async with server(app) as http:
        async with Raw(http.port) as raw:
            await raw.send(request("GET", path))
            await eventually(lambda: app.scopes)
        async with asyncio.timeout(30):
            await app.left.wait()


async def _end() -> None:
    app = App()
    async with server(app) as http, Raw(http.port) as raw:
        assert isinstance(http, HttpServer)
        await raw.send(request("GET", "/wait"))
        await eventually(lambda: app.scopes)
        await http.stop(0)
        http.cut_off()
        answer = await raw.read()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        async with asyncio.timeout(30):
            await app.left.wait()


test_whole_requests_and_answers = on_both_loops(_whole)
test_an_application_that_fails = on_both_loops(_fails)
test_streams = on_both_loops(_streams)
test_a_caller_that_leaves = on_both_loops(_caller_leaves)
test_the_end_of_the_server = on_both_loops(_end)
