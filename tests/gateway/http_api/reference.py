"""The reference for the gateway: stock uvicorn with h11, and an application with the gateway's paths."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def answer(request: Request, status: int = 200) -> Response:
    """An answer that repeats the caller's id, as the gateway does."""
    return JSONResponse({}, status, {"x-request-id": request.headers.get("x-request-id", "none")})


async def healthz(request: Request) -> Response:
    """Always well."""
    return answer(request)


async def predict(request: Request) -> Response:
    """200 for a JSON body, else 400, as the gateway; nobody reads the answer to a caller that has left."""
    try:
        await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, ClientDisconnect):
        return answer(request, 400)
    return answer(request)


APP = Starlette(routes=[Route("/healthz", healthz), Route("/predict", predict, methods=["POST"])])


@asynccontextmanager
async def running_reference() -> AsyncIterator[int]:
    """The reference in this process; its port."""
    config = uvicorn.Config(APP, http="h11", ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        port: int = sock.getsockname()[1]
        await server.startup(sockets=[sock])
        loop = asyncio.create_task(server.main_loop())
        try:
            yield port
        finally:
            server.should_exit = True
            await loop
            await server.shutdown(sockets=[sock])
