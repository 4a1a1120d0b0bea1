"""Writes lines to a stream that may be slow, full or closed, without blocking the event loop.

A pipe without a reader is full after 64 KiB. The next write blocks its thread for ever. So a separate thread writes the
lines, and the number of waiting bytes is limited. Non-blocking mode is no solution: standard output is often shared
with other processes, and it would become non-blocking for them, too.
"""

from __future__ import annotations

import logging
import select
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
MOST_BYTES = 4 * 2**20  # about 14,000 access lines, a second at full load


class RawStream(Protocol):
    """A stream without a buffer: `io.FileIO`, or `io.BytesIO` in a test."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of `data`.

        Returns:
            The number of written bytes; None if the stream is non-blocking and accepts none now.
        """

    def fileno(self) -> int:
        """The file descriptor; called only after `write` has returned None."""


class LineWriter:
    """A queue of encoded lines, and the thread that writes them to `stream` in order.

    Two threads must not call `put` at the same time. All other methods must be called from one thread only.

    Args:
        stream: the stream to write to.
        most_bytes: how many bytes may wait; further lines are dropped and counted.
    """

    def __init__(self, stream: RawStream, most_bytes: int = MOST_BYTES) -> None:
        self.stream = stream
        self.most_bytes = most_bytes
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each of these has only one thread that writes it, so none needs a lock.
        self._put = self._refused = 0
        self._done = self._failed = 0

    @property
    def dropped(self) -> int:
        """How many lines were dropped because the queue was full or the stream failed."""
        return self._refused + self._failed

    def put(self, lines: bytes) -> bool:
        """Queue complete lines. Returns whether there was room; if not, the lines are dropped and counted."""
        if self._put - self._done + len(lines) > self.most_bytes:
            self._refused += lines.count(b"\n")
            return False
        self._put += len(lines)
        self._queue.put(lines)
        if self._thread is None:
            thread = threading.Thread(target=self._write_all, name="lines", daemon=True)
            # Where the system gives no thread now, the lines wait, and the next ones try again.
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread
        return True

    def wait(self, within_s: float) -> bool:
        """Wait at most `within_s` seconds until all queued lines are written or have failed.

        Returns:
            Whether that happened in time.
        """
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
            except (OSError, ValueError):  # the reader is gone, the disk is full, or the stream is closed
                self._failed += bytes(rest).count(b"\n")
                return
            rest = rest[written or 0 :]

    def _until_writable(self) -> None:
        poll = select.poll()
        poll.register(self.stream.fileno(), select.POLLOUT)
        poll.poll()


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that a log call passed as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in PLAIN}
