"""Ports that a test knows before its server listens. No other process is given one of them by chance.

A server that asks for port 0, and every client, gets a port from the system's range of ephemeral ports, at any moment.
So a port that shall be free in a second from now lies below that range (from 32768 on Linux, 49152 elsewhere) and below
the NodePorts of Kubernetes (from 30000). Processes of one test run, which pytest-xdist numbers, take different ones.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from random import randrange

FIRST, LAST, OF_A_PROCESS = 10_000, 30_000, 2_500


def free_ports(count: int) -> list[int]:
    """Ports that follow each other, on which nobody listens."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST + number * OF_A_PROCESS % (LAST - FIRST)
    while True:
        start = randrange(first, first + OF_A_PROCESS - count)
        ports = list(range(start, start + count))
        with ExitStack() as stack:
            try:
                for port in ports:
                    stack.enter_context(socket.create_server(("", port)))
            except OSError:
                continue
        return ports


def free_port() -> int:
    """A port on which nobody listens."""
    return free_ports(1)[0]
