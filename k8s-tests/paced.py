"""Clients that each send a request a second and check the answer, as users do whose number goes up and down.

A client waits for its answer, so pods that can't keep up slow the clients down instead of being buried under requests:
latency shows the lack of pods, and once there are enough of them all clients get the pace that they want.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from time import monotonic

import aiohttp

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients saw of late: right answers a second, and latencies in ms; None where nothing was answered."""

    rate: float
    p50_ms: float | None
    p99_ms: float | None


class Paced:
    """A changing number of clients, each with one request at a time.

    Args:
        url: of the gateway.
        client: a session for all of them.
        tasks: where clients run.
        every_s: a client's pace, in seconds between the beginnings of two requests.
    """

    def __init__(
        self, url: str, client: aiohttp.ClientSession, tasks: asyncio.TaskGroup, every_s: float
    ) -> None:
        self.url = url
        self.every_s = every_s
        self.clients = 0
        self.sent = 0
        self.failed: list[str] = []
        self._client = client
        self._tasks = tasks
        self._running: set[int] = set()
        self._numbers = count(1)
        self._answers: deque[tuple[float, float]] = deque(maxlen=10_000)  # when, and after how many seconds

    def resize(self, clients: int) -> None:
        """From now on there are so many clients; one that has to go leaves after its answer."""
        new = [index for index in range(clients) if index not in self._running]
        self.clients = clients
        for place, index in enumerate(new):
            self._running.add(index)
            self._tasks.create_task(self._work(index, place / len(new) * self.every_s))

    async def _work(self, index: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while index < self.clients:
            began = monotonic()
            await self._ask(next(self._numbers))
            await asyncio.sleep(max(0.0, began + self.every_s - monotonic()))
        self._running.discard(index)

    async def _ask(self, number: int) -> None:
        """One request to the model `burn`: class 1 where x is positive, else 0, so neighbours in a batch differ."""
        expected = number % 2
        body = {"features": [number if expected else -number], "model_name": "burn"}
        self.sent += 1
        began = monotonic()
        try:
            async with self._client.post(f"{self.url}/predict", json=body) as answer:
                said = await answer.text()
                found = await answer.json() if answer.status == 200 else {}
        except (aiohttp.ClientError, OSError) as error:
            said, found = repr(error), {}
        if (found.get("class_id"), found.get("confidence")) == (expected, 1.0):
            self._answers.append((monotonic(), monotonic() - began))
        else:
            self.failed.append(said)

    def seen(self, window_s: float) -> Seen:
        """What was answered within the last `window_s` seconds."""
        since = monotonic() - window_s
        took = sorted(seconds for at, seconds in self._answers if at >= since)
        if not took:
            return Seen(0.0, None, None)
        p50, p99 = (took[int(share * (len(took) - 1) + 0.5)] * 1e3 for share in (0.5, 0.99))
        return Seen(len(took) / window_s, p50, p99)


@asynccontextmanager
async def paced(url: str, every_s: float = 1.0) -> AsyncIterator[Paced]:
    """Clients on a gateway, none at first; at the end those that still wait get their answers."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
        asyncio.TaskGroup() as tasks,
    ):
        load = Paced(url, client, tasks, every_s)
        yield load
        load.resize(0)
