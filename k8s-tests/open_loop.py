"""Requests at a fixed rate, as many independent callers send them: each request is sent at its time, no matter how many
wait for answers, and its latency is measured from that time."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import aiohttp

QUEUE = re.compile(r"queue;dur=([\d.]+)")
TICK_S = 0.01


@dataclass(frozen=True, slots=True)
class Answer:
    """One right answer: when its request was planned, when it came, and how long it waited in the gateway, in seconds."""

    planned: float
    came: float
    queue_s: float


class OpenLoop:
    """A stream of requests to a mock model.

    Args:
        url: of the gateway.
        client: a session for all of them.
        tasks: where requests run.
        model: which model.
        deadline_s: of each request.
    """

    def __init__(
        self, url: str, client: aiohttp.ClientSession, tasks: asyncio.TaskGroup, model: str, deadline_s: float
    ) -> None:
        self.url = url
        self.body = {"features": [0.5, 1.2, -3.4], "model_name": model}
        self.headers = {"x-request-timeout-ms": str(round(deadline_s * 1000))}
        self.rate = 0.0
        self.sent = 0
        self.failed: list[str] = []
        self.answers: deque[Answer] = deque(maxlen=200_000)
        self._client = client
        self._tasks = tasks

    @property
    def waiting(self) -> int:
        """Requests without an answer."""
        return self.sent - len(self.answers) - len(self.failed)

    def answered(self, since: float) -> int:
        """The number of right answers since a moment."""
        return sum(answer.came >= since for answer in self.answers)

    def queue_p95_s(self, since: float) -> float | None:
        """The 95th percentile of the wait in the gateway's queue, over the answers since a moment."""
        waits = sorted(answer.queue_s for answer in self.answers if answer.came >= since)
        return waits[int(0.95 * (len(waits) - 1) + 0.5)] if waits else None

    async def run(self) -> None:
        """Send until cancelled."""
        next_at = monotonic()
        while True:
            now = monotonic()
            if self.rate <= 0:
                next_at = now
            while self.rate > 0 and next_at <= now:
                self.sent += 1
                self._tasks.create_task(self._ask(next_at))
                next_at += 1 / self.rate
            await asyncio.sleep(TICK_S)

    async def _ask(self, planned: float) -> None:
        try:
            async with self._client.post(
                f"{self.url}/predict", json=self.body, headers=self.headers
            ) as answer:
                said = await answer.text()
                queue = QUEUE.search(answer.headers.get("server-timing", ""))
                if answer.status == 200 and queue is not None and '"error":""' in said:
                    self.answers.append(Answer(planned, monotonic(), float(queue[1]) / 1e3))
                else:
                    self.failed.append(f"{answer.status} {said}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.failed.append(repr(error))


@asynccontextmanager
async def open_loop(
    url: str,
    model: str = "v1-mock",
    deadline_s: float = 90.0,
    fresh: bool = False,
    tls: ssl.SSLContext | None = None,
    key: str = "",
) -> AsyncIterator[OpenLoop]:
    """A stream of requests on a gateway, at first none. At the end it waits for the answers that are missing.

    Args:
        url, model, deadline_s: see `OpenLoop`.
        fresh: a new connection for each, so that a load balancer spreads them over all gateways.
        tls: whom to trust; for https.
        key: an API key that each sends; "" for none.
    """
    timeout = aiohttp.ClientTimeout(total=deadline_s + 10)
    connector = aiohttp.TCPConnector(limit=0, force_close=fresh, ssl=tls or True)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
        asyncio.TaskGroup() as tasks,
    ):
        load = OpenLoop(url, client, tasks, model, deadline_s)
        if key:
            load.headers["authorization"] = f"Bearer {key}"
        sending = asyncio.create_task(load.run())
        try:
            yield load
        finally:
            sending.cancel()
