"""What goes out: the stream's messages as DATA frames, as fast as the other side's windows allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from inferencehub.core.http2.frames import (
    DATA,
    FIRST_FRAME_LIMIT,
    FIRST_WINDOW,
    FRAME,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NUMBER,
    PREFIX,
    PREFIX_BYTES,
    SETTING,
    STREAM,
    WINDOW,
)
from inferencehub.core.values.tensors import Buffer

# Bytes of the smallest frame limit that HTTP/2 allows, and from which on a part is written as it is, rather than copied
# into one with those before it.
JOIN_BELOW = 2**14


class Outgoing:
    """See the module's text.

    Args:
        write: what writes to the connection, all that it is given at once.

    `held` is the bytes of messages that the windows hold back.
    """

    def __init__(self, write: Callable[[Sequence[Buffer]], None]) -> None:
        self._write = write
        self.held = 0
        self._unsent: deque[memoryview] = deque()
        self._stream_window = self._connection_window = self._first_window = FIRST_WINDOW
        self._frame_limit = FIRST_FRAME_LIMIT
        self._end = b""

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send a message, given in parts."""
        size = sum(map(len, parts)) + PREFIX_BYTES
        prefix = PREFIX.pack(0, size - PREFIX_BYTES)
        if self._unsent or size > JOIN_BELOW or size > self._stream_window or size > self._connection_window:
            self._queue(prefix, parts)
            self.held += size
            self._flush()
            return
        self._stream_window -= size
        self._connection_window -= size
        self._write((b"".join([FRAME.pack(size >> 8, size & 255, DATA, 0, STREAM), prefix, *parts]),))

    def end(self, frames: bytes) -> None:
        """Send the frames that end the stream, once all messages have left."""
        self._end = frames
        self._flush()

    def drop(self) -> None:
        """Send nothing of what has not left."""
        self._unsent.clear()
        self.held = 0

    def open(self, stream: int, payload: bytes) -> None:
        """A window was opened by the other side."""
        more = NUMBER.unpack(payload)[0] & WINDOW
        if stream:
            self._stream_window += more
        else:
            self._connection_window += more
        self._flush()

    def set(self, payload: bytes) -> None:
        """The other side's settings."""
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._first_window
                self._first_window = value
            elif name == MAX_FRAME_SIZE:
                self._frame_limit = value
        self._flush()

    def _queue(self, prefix: bytes, parts: Sequence[Buffer]) -> None:
        small: list[Buffer] = [prefix]
        for part in parts:
            if len(part) < JOIN_BELOW:
                small.append(part)
                continue
            self._unsent += (memoryview(b"".join(small)), memoryview(part))
            small.clear()
        if small:
            self._unsent.append(memoryview(b"".join(small)))

    def _flush(self) -> None:
        unsent, frames = self._unsent, list[Buffer]()
        while unsent:
            part = unsent[0]
            size = min(len(part), self._stream_window, self._connection_window, self._frame_limit)
            if size <= 0 < len(part):
                break
            self._stream_window -= size
            self._connection_window -= size
            self.held -= size
            frames += (FRAME.pack(size >> 8, size & 255, DATA, 0, STREAM), part[:size])
            if size == len(part):
                unsent.popleft()
            else:
                unsent[0] = part[size:]
        if self._end and not unsent:
            frames.append(self._end)
            self._end = b""
        if frames:
            self._write(frames)
