"""A closed loop: each client waits for an answer before it sends the next request.

Every answer must have status 200. One in `CHECK_EVERY` is compared with the class and the confidence that the same
request got when it was sent alone. Clients send different requests at the same time, so an answer that went to the
wrong caller is noticed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from bench.load.connection import Connection, Sample

RETRY_S = 0.05
CHECK_EVERY = 8
CLOSE_ENOUGH = 1e-4  # a row's confidence may depend on its batch in the last digits


@dataclass(frozen=True, slots=True)
class Result:
    """What was seen within the window: its seconds, sorted seconds of each request, errors by kind."""

    seconds: float
    took: Sequence[float]
    errors: Counter[str]
    cpu: Sequence[float]  # shares of one core: what was asked to be watched, then the clients themselves

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return len(self.took) / self.seconds

    def ms(self, share: float) -> float:
        """The latency in ms within which this share of the requests was answered."""
        return self.took[min(len(self.took) - 1, int(share * len(self.took)))] * 1e3 if self.took else 0.0


class Load:
    """Clients that each wait for an answer before they send the next request.

    Args:
        host, ports: the servers; clients are distributed over the ports.
        samples: the requests to send, in turn.
        clients: the number of clients.
    """

    def __init__(self, host: str, ports: Sequence[int], samples: Sequence[Sample], clients: int) -> None:
        self.host, self.ports = host, ports
        self.samples = samples
        self.clients = clients
        self.took: list[float] = []
        self.errors: Counter[str] = Counter()
        self.over = False
        self.connections: set[Client] = set()

    async def run(
        self,
        warm_up_s: float,
        seconds: float,
        cpu: Callable[[], list[float]],
        title: str,
        ramp_s: float = 0.0,
    ) -> Result:
        """Open the connections over `ramp_s`, warm up, and count the answers that come within `seconds`.

        Args:
            warm_up_s, seconds: before the window, and its length.
            cpu: returns the CPU seconds that the measured processes have used so far.
            title: the beginning of the progress line.
            ramp_s: the seconds until all clients have started.
        """
        for index in range(self.clients):
            await self.connect(index)
            await asyncio.sleep(ramp_s / self.clients)
        await asyncio.sleep(warm_up_s)
        self.took.clear()
        self.errors.clear()
        began, before = perf_counter(), [*cpu(), cpu_seconds()]
        while (left := began + seconds - perf_counter()) > 0:
            if sys.stderr.isatty():
                line = f"\r{title}: {left:3.0f} s left, {len(self.took)} answers, {self.errors.total()} errors \033[K"
                print(line, end="", file=sys.stderr, flush=True)
            await asyncio.sleep(min(left, 0.5))
        took, errors = self.took, self.errors.copy()
        self.took = []
        elapsed = perf_counter() - began
        used = [(now - then) / elapsed for now, then in zip([*cpu(), cpu_seconds()], before, strict=True)]
        self.over = True
        for connection in list(self.connections):
            connection.transport.close()
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        return Result(elapsed, sorted(took), errors, used)

    async def connect(self, index: int) -> None:
        """Open a client's connection. If that fails, count an error and try again."""
        while not self.over:
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: Client(self, index), self.host, self.ports[index % len(self.ports)]
                )
                return
            except OSError:
                self.errors["connection refused"] += 1
                await asyncio.sleep(RETRY_S)


class Client(Connection):
    """One that asks again as soon as it is answered."""

    def __init__(self, load: Load, index: int) -> None:
        self.load = load
        self.turn = self.index = index
        self.reconnecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.load.connections.add(self)
        self.send()

    def send(self) -> None:
        """Write the next request."""
        self.turn += 1
        self.sample = self.load.samples[self.turn % len(self.load.samples)]
        self.started = perf_counter()
        self.transport.write(self.sample.request)

    def answered(self, status: int, body: bytes) -> None:
        wrong = self.wrong(status, body)
        if wrong:
            self.load.errors[wrong] += 1
        else:
            self.load.took.append(perf_counter() - self.started)
        if not self.load.over:
            self.send()

    def wrong(self, status: int, body: bytes) -> str:
        """What is wrong with an answer; "" if it is right."""
        if status != 200:
            return f"status {status}"
        if self.turn % CHECK_EVERY:
            return ""
        answer = json.loads(body)
        sure = abs(answer["confidence"] - self.sample.confidence) < CLOSE_ENOUGH
        return "" if answer["class_id"] == self.sample.class_id and sure else "wrong answer"

    def connection_lost(self, error: Exception | None) -> None:
        self.load.connections.discard(self)
        if not self.load.over:
            self.load.errors["connection lost"] += 1
            self.reconnecting = asyncio.get_running_loop().create_task(self.load.connect(self.index))


def cpu_seconds() -> float:
    """What this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
