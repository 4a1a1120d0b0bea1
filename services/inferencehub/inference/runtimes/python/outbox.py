"""What the service writes to a process, on its event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from inferencehub.core.values.tensors import Buffer

GATHERED = 64  # buffers in one write; every system allows at least 16, Linux 1024


class Outbox:
    """What is still to be written to a socket.

    Args:
        loop: the event loop.
        sock: a non-blocking socket.
        broken: called if the other end is closed.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, broken: Callable[[], None]
    ) -> None:
        self.unsent: list[memoryview] = []
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._broken = broken
        self._writing = False

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Write the buffers one after the other, now or as soon as the socket takes them."""
        self.unsent += [memoryview(buffer) for buffer in buffers]
        self._write()
        if self.unsent and not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._write)

    def close(self) -> None:
        """Write nothing more; to be called before the socket is closed."""
        self.unsent = []
        self._broken = lambda: None  # the other one refers back to the process: a reference cycle
        self._loop.remove_writer(self._fd)

    def _write(self) -> None:
        try:
            sent = self._socket.sendmsg(self.unsent[:GATHERED])
        except BlockingIOError:
            return
        except ConnectionError:
            self._broken()
            return
        while self.unsent and sent >= len(self.unsent[0]):
            sent -= len(self.unsent.pop(0))
        if self.unsent:
            self.unsent[0] = self.unsent[0][sent:]
        elif self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
