"""A closed loop over bare sockets, for what h2load cannot do: each request may have a different head.

One thread serves all clients. For each answer it calls epoll, recv and send, and checks only the status and the end.
asyncio clients used more CPU than the servers that they measured. All requests are built before, so requests with
different heads take the same work here as requests with equal heads.
"""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter, process_time

from bench.load.h2load import Seen

OKAY = b"HTTP/1.1 200"
LOOK_S = 0.2  # how long to wait for an answer before the clock is looked at
MOST = 1 << 16


class RawClients:
    """Clients that each wait for an answer, which must be JSON, before they send the next request.

    Args:
        port: on this machine.
        requests: whole HTTP/1.1 requests, sent one after another, over whichever connection is free.
        clients: connections.
    """

    def __init__(self, port: int, requests: Sequence[bytes], clients: int) -> None:
        self.port, self.requests, self.clients = port, requests, clients
        self.turn = 0
        self.parts: dict[int, bytes] = {}  # of answers that are not whole, by socket

    def run(self, warm_up_s: float, seconds: float, cpu: Callable[[], float]) -> Seen:
        """Ask, and count the answers that come within `seconds` after the warm-up.

        Raises:
            OSError: where a connection can't be opened or is lost.
        """
        with ExitStack() as kept:
            ready = kept.enter_context(select.epoll())
            sockets: dict[int, socket.socket] = {}
            for _ in range(self.clients):
                one = kept.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets[one.fileno()] = one
                ready.register(one, select.EPOLLIN)
            sent = {number: self.send(one) for number, one in sockets.items()}
            self.loop(ready, sockets, sent, perf_counter() + warm_up_s)
            began, before, busy = perf_counter(), cpu(), process_time()
            took, errors = self.loop(ready, sockets, sent, began + seconds)
            elapsed = perf_counter() - began
            used, busy = cpu() - before, process_time() - busy
        if not took:
            raise RuntimeError(f"nothing was answered: {dict(errors)}")
        p50, p90, p99 = (took[int(share * len(took))] * 1e3 for share in (0.5, 0.9, 0.99))
        return Seen(len(took), elapsed, dict(errors), p50, p90, p99, busy / elapsed, used)

    def loop(
        self, ready: select.epoll, sockets: dict[int, socket.socket], sent: dict[int, float], ends: float
    ) -> tuple[list[float], Counter[str]]:
        """Ask until the clock says so: the sorted seconds of good answers, and errors by kind."""
        took, errors, parts = list[float](), Counter[str](), self.parts
        now = perf_counter()
        while now < ends:
            for number, _ in ready.poll(LOOK_S):
                data = sockets[number].recv(MOST)
                if not data:
                    raise ConnectionError("the server has closed a connection")
                if number in parts:
                    data = parts.pop(number) + data
                if not data.endswith(b"}"):
                    parts[number] = data
                    continue
                now = perf_counter()
                if data.startswith(OKAY):
                    took.append(now - sent[number])
                else:
                    errors[f"status {data[9:12].decode()}"] += 1
                sent[number] = self.send(sockets[number])
            now = perf_counter()
        return sorted(took), errors

    def send(self, one: socket.socket) -> float:
        """Write the next request; the moment at which that was."""
        self.turn += 1
        now = perf_counter()
        one.sendall(self.requests[self.turn % len(self.requests)])
        return now
