"""An open loop: requests leave at a constant rate, whether answers come or not, as they do from many callers.

Latency is measured from the planned time of a request. If the servers or this program stall, all requests that were
planned for that time are late. A closed loop would not have sent them, and would hide the stall. `lag` is the delay of
this program in sending a request, so it can be separated from the servers' time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from bench.load.connection import Connection

LOST = 0  # in place of a status: the connection went away


class Answer(NamedTuple):
    """One request: seconds from the start at which it was planned, how late it left, how long it took; its status."""

    planned: float
    lag: float
    took: float
    status: int


class Arrivals(Connection):
    """One connection; it goes back to those that are free once its answer is there."""

    def __init__(self, loop: OpenLoop) -> None:
        self.loop = loop
        self.asked = False

    def send(self, request: bytes, planned: float) -> None:
        """Write a request that was planned for a moment of the clock."""
        self.asked, self.planned, self.left = True, planned, perf_counter()
        self.transport.write(request)

    def answered(self, status: int, body: bytes) -> None:
        self.done(status)
        self.loop.free.append(self)

    def done(self, status: int) -> None:
        """Note how it went."""
        self.asked = False
        lag, took = self.left - self.planned, perf_counter() - self.planned
        self.loop.note(Answer(self.planned - self.loop.began, lag, took, status))

    def connection_lost(self, error: Exception | None) -> None:
        if self.asked:
            self.done(LOST)
        if self in self.loop.free:
            self.loop.free.remove(self)


@dataclass
class OpenLoop:
    """Requests at a constant rate, each over a connection that is free, or a new one.

    Args:
        host, port: whom they ask.
        requests: what is sent, in turn.
        rate: requests a second.
    """

    host: str
    port: int
    requests: Sequence[bytes]
    rate: float

    def __post_init__(self) -> None:
        self.answers: list[Answer] = []
        self.free: list[Arrivals] = []
        self.connecting: set[asyncio.Task[None]] = set()
        self.complete = asyncio.Event()
        self.began = 0.0
        self.wanted = 0

    async def run(self, seconds: float, patience_s: float) -> list[Answer]:
        """All answers of requests planned within `seconds`; the last are waited for as long as `patience_s`."""
        self.began = perf_counter()
        self.wanted = round(self.rate * seconds)
        for index in range(self.wanted):
            planned = self.began + index / self.rate
            if (left := planned - perf_counter()) > 0:
                await asyncio.sleep(left)
            elif index % 64 == 0:
                await asyncio.sleep(0)  # late: let answers in all the same
            request = self.requests[index % len(self.requests)]
            if self.free:
                self.free.pop().send(request, planned)
            else:
                task = asyncio.get_running_loop().create_task(self.connect(request, planned))
                self.connecting.add(task)
                task.add_done_callback(self.connecting.discard)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.complete.wait(), patience_s)
        for connection in self.free:
            connection.transport.close()
        return self.answers

    async def connect(self, request: bytes, planned: float) -> None:
        """A new connection, and its first request."""
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Arrivals(self), self.host, self.port
            )
        except OSError:
            now = perf_counter()
            self.note(Answer(planned - self.began, now - planned, now - planned, LOST))
            return
        connection.send(request, planned)

    def note(self, answer: Answer) -> None:
        """One more is over."""
        self.answers.append(answer)
        if len(self.answers) == self.wanted:
            self.complete.set()
