"""Turns the stream's messages into DATA frames, as fast as the peer's flow-control windows allow.

What is to be written is returned, so that nothing here refers to the connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

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
    Broken,
)
from inferencehub.core.values.tensors import Buffer

# The smallest frame limit that HTTP/2 allows, in bytes. A part of at least this size is written as it is; smaller parts
# are copied and joined.
JOIN_BELOW = 2**14


class Outgoing:
    """The sender of one stream's messages (see the module's docstring).

    `held` is the number of message bytes that wait until the peer opens its windows, and `sent` of those that came in. The methods return the buffers
    that must be written now.
    """

    def __init__(self) -> None:
        self.held = self.sent = 0
        self._unsent: deque[memoryview] = deque()
        self._stream_window = self._connection_window = self._first_window = FIRST_WINDOW
        self._frame_limit = FIRST_FRAME_LIMIT
        self._end = b""

    def send(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """Send one message, which consists of `parts`."""
        size = sum(map(len, parts)) + PREFIX_BYTES
        prefix = PREFIX.pack(0, size - PREFIX_BYTES)
        self.sent += size
        if self._unsent or size > JOIN_BELOW or size > self._stream_window or size > self._connection_window:
            self._queue(prefix, parts)
            self.held += size
            return self._flush()
        self._stream_window -= size
        self._connection_window -= size
        return (b"".join([FRAME.pack(size >> 8, size & 255, DATA, 0, STREAM), prefix, *parts]),)

    def end(self, frames: bytes) -> Sequence[Buffer]:
        """Send the frames that end the stream, after all messages."""
        self._end = frames
        return self._flush()

    def drop(self) -> None:
        """Discard everything that has not been written."""
        self._unsent.clear()
        self.held = 0

    def open(self, stream: int, payload: bytes) -> Sequence[Buffer]:
        """Take a WINDOW_UPDATE of the peer; stream 0 is the connection's window.

        Raises:
            Broken: if the window becomes larger than HTTP/2 allows.
        """
        more = NUMBER.unpack(payload)[0] & WINDOW
        if stream:
            self._stream_window += more
        else:
            self._connection_window += more
        self._check()
        return self._flush()

    def set(self, payload: bytes) -> Sequence[Buffer]:
        """Take the peer's SETTINGS.

        Raises:
            Broken: as `open`.
        """
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._first_window
                self._first_window = value
            elif name == MAX_FRAME_SIZE:
                self._frame_limit = value
        self._check()
        return self._flush()

    def _check(self) -> None:
        if max(self._stream_window, self._connection_window) > WINDOW:
            raise Broken(f"a window of more than {WINDOW} bytes")

    def _queue(self, prefix: bytes, parts: Sequence[Buffer]) -> None:
        small: list[Buffer] = [prefix]
        for part in parts:
            if len(part) < JOIN_BELOW:
                small.append(part)
                continue
            if small:
                self._unsent.append(memoryview(b"".join(small)))
                small.clear()
            self._unsent.append(memoryview(part))
        if small:
            self._unsent.append(memoryview(b"".join(small)))

    def _flush(self) -> list[Buffer]:
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
        return frames
