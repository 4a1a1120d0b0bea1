"""The page's only stream: server-sent events, one a second, with what the page shows.

The first event, `hello`, has what holds for all; each `snapshot` says of which gateway it is, as those who come back through
a Service may come to another one. Source: HTML Standard, section 9.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from time import monotonic

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inferencehub.core.auth.authentication import AGAIN_S
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.console.snapshot import Snapshot
from inferencehub.gateway.console.watchers import PATIENCE_S, Watchers, event
from inferencehub.gateway.json_codec.answer_json import error_json

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx, and ingresses that are nginx, would hold events back
    "connection": "close",  # those who come back may reach another gateway
}
RETRY = b"retry: 1000\n\n"  # ms
LONGEST_S = 900.0  # that a stream is open: those who come back are asked again what they may see


class Stream(Response):
    """The events for one who looks.

    Args:
        watchers: all who do.
        port: at which port.
        who: returns what is equal for those who may see the same now.
        shown: makes what they may see of a snapshot.
        again: checks whether they may still look; raises `HubError` if not.
        patience_s: seconds that the caller may read nothing.
    """

    def __init__(
        self,
        watchers: Watchers,
        port: str,
        who: Callable[[], Hashable],
        shown: Callable[[Snapshot], Snapshot],
        again: Callable[[], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        super().__init__(headers=HEADERS)
        self._watchers = watchers
        self._port = port
        self._who = who
        self._shown = shown
        self._again = again
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI.

        Raises:
            HubError: if too many look already, or the gateway drains.
        """
        with self._watchers.watching(self._port) as watcher:
            del self.headers["content-length"]
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            last = b""
            try:
                hello = self._watchers.snapshots.hello(whole=self._port == "callers")
                await self._write(send, RETRY + event(b"hello", hello))
                asked = began = monotonic()
                while monotonic() - began < LONGEST_S:
                    await watcher.came.wait()
                    watcher.came.clear()
                    if self._watchers.ended:
                        last = b"event: end\ndata: {}\n\n"
                        break
                    if monotonic() - asked >= AGAIN_S:
                        asked = monotonic()
                        self._again()
                    if text := self._watchers.text(self._who(), self._shown):
                        await self._write(send, text)
            except HubError as error:
                last = b"event: refused\ndata: %b\n\n" % error_json(error)
            except TimeoutError:
                pass  # the caller reads nothing
            await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _write(self, send: Send, text: bytes) -> None:
        """Send a part, and wait until the caller reads.

        Raises:
            TimeoutError: if it reads nothing for too long.
        """
        async with asyncio.timeout(self._patience_s):
            await send({"type": "http.response.body", "body": text, "more_body": True})
