"""Lines to a stream that may be slow, full or closed, without a wait for it on the event loop.

A pipe that nobody reads is full after 64 KiB, and a write to it then blocks its thread for ever. So a thread of its own
writes, and what waits for that thread is bounded in bytes. To make the stream non-blocking would not do: standard output
is shared with other processes, and all who share it would become non-blocking with it.
"""

from __future__ import annotations

import select
import threading
from queue import SimpleQueue
from typing import Protocol

MOST_BYTES = 4 * 2**20  # about 14,000 access lines, a second at full load


class RawStream(Protocol):
    """A stream without a buffer: `io.FileIO`, or `io.BytesIO` in a test."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of `data`; how many bytes, or None where the stream is non-blocking and takes none now."""

    def fileno(self) -> int:
        """Its file descriptor; asked for only after `write` gave None."""


class LineWriter:
    """A queue of encoded lines and the thread that writes them to `stream`, in their order.

    `put` must not be called by two threads at once; nothing else here is called from more than one.

    Args:
        stream: where lines go.
        most_bytes: how many bytes may wait; lines beyond that are dropped and counted.
    """

    def __init__(self, stream: RawStream, most_bytes: int = MOST_BYTES) -> None:
        self.stream = stream
        self.most_bytes = most_bytes
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # One thread alone writes each of these, so that none needs a lock.
        self._put = self._refused = 0
        self._done = self._failed = 0

    @property
    def dropped(self) -> int:
        """How many lines were dropped: the queue was full, or the stream failed."""
        return self._refused + self._failed

    def put(self, lines: bytes) -> bool:
        """Queue whole lines; whether there was room for them."""
        if self._put - self._done + len(lines) > self.most_bytes:
            self._refused += lines.count(b"\n")
            return False
        self._put += len(lines)
        self._queue.put(lines)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="lines", daemon=True)
            self._thread.start()
        return True

    def wait(self, within_s: float) -> bool:
        """Wait until all that was put so far is written or has failed; whether that was so within `within_s` seconds."""
        if self._done == self._put:
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(within_s)

    def _write_all(self) -> None:
        while True:
            lines = self._queue.get()
            if isinstance(lines, bytes):
                self._write(lines)
                self._done += len(lines)
            else:
                lines.set()

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:
            try:
                written = self.stream.write(rest)
                if written is None:
                    self._until_writable()
            except (OSError, ValueError):  # the reader has gone, the disk is full, the stream is closed
                self._failed += bytes(rest).count(b"\n")
                return
            rest = rest[written or 0 :]

    def _until_writable(self) -> None:
        poll = select.poll()
        poll.register(self.stream.fileno(), select.POLLOUT)
        poll.poll()
