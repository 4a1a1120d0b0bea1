"""One who looks at the console, without a browser: `async with looking(hub) as look`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.hub import Hub

Snapshot = dict[str, Any]


class Look:
    """A stream of events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def event(self) -> tuple[str, Any]:
        """The next event, as its name and data; ("", None) at the end."""
        name, data = "", None
        while line := await self.answer.content.readline():
            if line == b"\n" and data is not None:
                return name, data
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
        return "", None

    async def snapshot(self, wanted: Callable[[Snapshot], object] = lambda shown: True) -> Snapshot:
        """The next snapshot of which something is true."""
        async with asyncio.timeout(30):
            while True:
                name, data = await self.event()
                assert name, "the stream has ended"
                if name == "snapshot" and wanted(data):
                    found: Snapshot = data
                    return found


@asynccontextmanager
async def looking(
    hub: Hub, ops: bool = False, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Look]:
    """Look at the gateway's port, or at its ops port."""
    url = f"http://127.0.0.1:{hub.gateway.ops.port}" if ops else hub.url
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=2**22) as client,
        client.get(f"{url}/console/events", headers=headers or {}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        yield Look(answer)


def of(rows: list[dict[str, Any]], model: str) -> dict[str, Any]:
    """The row of a model; an empty one if there is none."""
    return next((row for row in rows if row["model"] == model), {})
