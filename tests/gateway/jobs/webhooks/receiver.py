"""A real receiver of webhooks, on this machine."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier

SECRET = f"whsec_{b64encode(b'0123456789abcdef0123456789abcdef').decode()}"


class Message(NamedTuple):
    """What came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its id."""
        return self.headers["webhook-id"]

    def read(self) -> Any:
        """Its JSON; fails if its signature is not right."""
        assert Verifier(SECRET).verify(self.body, self.headers) == json.loads(self.body)
        return json.loads(self.body)


class Receiver:
    """Paths say what is answered: /500,200/x is 500 and then 200; /slow answers once `held` is set, /endless never ends."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.held = asyncio.Event()
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0  # requests at a time
        self.sent = 0  # bytes of endless answers
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Keep a message and answer it."""
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            body = await request.read()
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.messages.append(Message(request.path, headers, body))
            return await self._said(request)
        finally:
            self.now -= 1

    async def _said(self, request: web.Request) -> web.StreamResponse:
        said = request.path.split("/")[1]
        if said == "slow":
            await self.held.wait()
            return web.Response()
        if said == "endless":
            answer = web.StreamResponse()
            await answer.prepare(request)
            while True:
                await answer.write(b"x" * 1024)
                self.sent += 1024
        statuses = said.split(",")
        place = self.asked[request.path]
        self.asked[request.path] += 1
        headers = {"location": "/200/redirected", "retry-after": request.query.get("after", "")}
        return web.Response(status=int(statuses[min(place, len(statuses) - 1)]), headers=headers)

    def of(self, path: str) -> list[Message]:
        """What came to a path."""
        return [one for one in self.messages if one.path == path]


@asynccontextmanager
async def receiving(certificate: tuple[Path, Path] | None = None) -> AsyncIterator[Receiver]:
    """A receiver that runs; with TLS if it has a certificate."""
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        made.held.set()
        await runner.cleanup()
