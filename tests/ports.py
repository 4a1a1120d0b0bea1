"""Ports that a test knows before its server listens. No other process is given one of them by chance.

A server that asks for port 0, and every client, gets a port from the system's range of ephemeral ports, at any moment.
So a port that shall be free in a second from now lies below that range (from 32768 on Linux, 49152 elsewhere) and below
the NodePorts of Kubernetes (from 30000). Each process that runs tests keeps a block of these ports for itself, and gives
each of them once before it gives one again.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from contextlib import ExitStack, suppress
from functools import cache
from itertools import cycle
from pathlib import Path

BLOCKS = [range(first, first + 500) for first in range(10_000, 30_000, 500)]


class Block:
    """A block of ports that no other process on this machine has, until this one ends."""

    def __init__(self) -> None:
        for ports in BLOCKS:
            path = Path(tempfile.gettempdir()) / f"inferencehub-test-ports-{ports.start}-{os.getuid()}"
            self.file = path.open("w")
            with suppress(BlockingIOError):
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.ports = ports
                self.firsts = cycle(ports)
                return
            self.file.close()
        raise RuntimeError(f"all {len(BLOCKS)} blocks of ports are in use")

    def take(self, count: int) -> list[int]:
        """The next ports that follow each other, on which nobody listens."""
        while True:
            ports = [next(self.firsts) for _ in range(count)]
            with ExitStack() as stack, suppress(OSError):
                for port in ports:
                    stack.enter_context(socket.create_server(("", port)))
                if ports[-1] - ports[0] == count - 1:  # not around the block's end
                    return ports


@cache
def block() -> Block:
    """The block of this process."""
    return Block()


def free_ports(count: int) -> list[int]:
    """Ports that follow each other, on which nobody listens."""
    return block().take(count)


def free_port() -> int:
    """A port on which nobody listens."""
    return free_ports(1)[0]
