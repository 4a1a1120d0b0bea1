"""A real browser, driven over its DevTools protocol: `async with Browser(program, directory) as browser`."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--remote-debugging-port=0"),
)  # fmt: skip
LISTENS = re.compile(rb"DevTools listening on (ws://\S+)")


class Browser:
    """Chromium without a window, and one tab of it.

    `complaints` has what the tab's console says that is no plain message: errors, warnings, violations of a policy.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self.command = (program, *FLAGS, f"--user-data-dir={directory}", "about:blank")
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        self._client = aiohttp.ClientSession()
        self._socket = await self._client.ws_connect(await self._address(), max_msg_size=0)
        self._reading = asyncio.create_task(self._read())
        self._tab: dict[str, str] = {}
        target = await self.do("Target.createTarget", url="about:blank")
        attached = await self.do("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._tab = {"sessionId": attached["sessionId"]}
        for part in ("Page", "Runtime", "Log"):
            await self.do(f"{part}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await self._client.close()
        self._process.kill()
        await self._process.wait()

    async def _address(self) -> str:
        assert self._process.stderr is not None
        said = b""
        async with asyncio.timeout(60):
            while not (found := LISTENS.search(said)):
                piece = await self._process.stderr.readline()
                assert piece, said.decode()
                said += piece
        return found[1].decode()

    async def _read(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._waiting.pop(event["id"]).set_result(event)
            elif event["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif event["method"] == "Log.entryAdded":
                entry = event["params"]["entry"]
                if entry["level"] in ("error", "warning"):
                    self.complaints.append(entry["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(event["params"]["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in (
                "error",
                "warning",
            ):
                self.complaints.append(str(event["params"]["args"]))

    async def do(self, method: str, **params: Any) -> Any:
        """The result of a command of the protocol."""
        number = next(self._numbers)
        self._waiting[number] = waiting = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params, **self._tab})
        async with asyncio.timeout(60):
            answer = await waiting
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, url: str) -> None:
        """Show a page, and wait until it is loaded."""
        self._loaded.clear()
        await self.do("Page.navigate", url=url)
        async with asyncio.timeout(60):
            await self._loaded.wait()

    async def value(self, script: str) -> Any:
        """What an expression of the page is, or what its promise comes to."""
        result = await self.do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def becomes(self, script: str) -> Any:
        """Wait until an expression of the page is true; its value."""
        async with asyncio.timeout(60):
            while not (found := await self.value(script)):  # noqa: ASYNC110  the page tells nobody
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def other_site(html: str) -> AsyncIterator[str]:
    """A page of another origin; its URL."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
