"""A port that says nothing, as behind a network policy that drops packets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that listens and whose queue of connections is full, so that the kernel drops each further one."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(address)
        yield address[1]
