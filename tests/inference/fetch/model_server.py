"""A web server for models: files with ranges and validators, as starlette serves them, and answers that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

Answer = Callable[[Request], Awaitable[Response]]


class ModelServer:
    """Serves a directory. `next_answers` are given before it: one request each.

    Args:
        directory: its files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.requests: list[Request] = []
        self.next_answers: list[Answer] = []
        self.url = ""

    async def answer(self, request: Request) -> Response:
        """Answer a request: by the next of `next_answers`, else with a file."""
        self.requests.append(request)
        if self.next_answers:
            return await self.next_answers.pop(0)(request)
        file = self.directory / request.path_params["path"]
        return FileResponse(file) if file.is_file() else Response(status_code=404)


class BreaksOff(FileResponse):
    """Says how long the file is, and closes the connection after some bytes, as a server that dies."""

    def __init__(self, file: Path, after: int, etag: str | None = None) -> None:
        super().__init__(file)
        self.after = after
        self.tag = etag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await asyncio.to_thread(Path(self.path).read_bytes)
        self.set_stat_headers(await asyncio.to_thread(Path(self.path).stat))
        if self.tag is not None:
            self.headers["etag"] = self.tag
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": content[: self.after], "more_body": True})
        raise ConnectionAbortedError


def breaks_off(file: Path, after: int, etag: str | None = None) -> Answer:
    """An answer that is a file's first `after` bytes."""

    async def answer(request: Request) -> Response:
        return BreaksOff(file, after, etag)

    return answer


def status(code: int, **headers: str) -> Answer:
    """An answer without a body."""

    async def answer(request: Request) -> Response:
        return Response(status_code=code, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


@asynccontextmanager
async def running_server(
    directory: Path, certificate: tuple[Path, Path] | None = None
) -> AsyncIterator[ModelServer]:
    """A server that runs; over TLS with a certificate and its key."""
    server = ModelServer(directory)
    app = Starlette(routes=[Route("/{path:path}", server.answer)])
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    while not running.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    server.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        running.should_exit = True
        await task
