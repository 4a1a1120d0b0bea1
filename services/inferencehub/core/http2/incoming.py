"""Parses received bytes: into frames, and the stream's DATA into gRPC messages.

Small messages are copied out of a fixed buffer. A message that has not arrived completely gets its own buffer, and the
rest of it is read from the socket directly into that buffer.
"""

from __future__ import annotations

from typing import Protocol

from inferencehub.core.http2.frames import (
    DATA,
    END_STREAM,
    FRAME,
    FRAME_BYTES,
    PADDED,
    PREFIX,
    PREFIX_BYTES,
    SETTINGS,
    STREAM,
    Broken,
)
from inferencehub.core.values.buffers import room
from inferencehub.core.values.tensors import Buffer

BUFFER = 2**16  # bytes; every frame other than DATA must fit in


class Receiver(Protocol):
    """Gets what was parsed. The parser does not keep it: they would refer to each other, and so stay in memory."""

    def control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Take a frame other than DATA."""

    def message(self, data: Buffer) -> None:
        """Take a message."""

    def half_closed(self) -> None:
        """The peer has ended its side of the stream with DATA."""


class Incoming:
    """The parser of one connection's received bytes (see the module's docstring).

    `heard` grows with each frame and each piece of a large message. `taken` counts the received bytes that count
    against the windows. DATA is accepted only when `begun` is set; without a preface it is set from the start.

    Args:
        preface: bytes that the peer sends before its first frame.
        most_bytes: bytes of the largest message that is accepted.
    """

    def __init__(self, preface: bytes, most_bytes: int) -> None:
        self.heard = self.taken = 0
        self.begun = not preface
        self._preface = preface
        self._most_bytes = most_bytes
        self._dropped = False
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._left = self._padding = 0  # bytes of the current DATA, and of its padding, that have not arrived
        self._last = False  # whether the current DATA ends the stream
        self._prefix = b""  # a message's prefix, as long as it is incomplete
        self._message: memoryview | None = None  # buffer of a message that has not arrived completely
        self._place = memoryview(b"")  # the part of that buffer that is still to be filled

    def place(self) -> memoryview:
        """The buffer that the next bytes must be written to; never empty."""
        if self._message is not None and self._left:
            return self._place[: self._left]
        return self._view[self._filled :]

    def read(self, size: int, receiver: Receiver) -> None:
        """Parse `size` bytes that were written to `place()`, and give the receiver what they contain.

        Raises:
            Broken: if they violate the protocol.
        """
        if self._message is not None and self._left:
            self.heard += 1
            self._left -= size
            self._fill(size, receiver)
            at = end = 0
        else:
            at, end = 0, self._filled + size
            if self._preface and not (at := self._begin(end)):
                self._filled = end
                return
        while not self._dropped:
            if self._left:
                at = self._data(at, end, receiver)
            if self._padding and not self._left:
                skipped = min(self._padding, end - at)
                self._padding -= skipped
                at += skipped
            if self._left or self._padding:
                break
            if self._last:
                self._last = False
                receiver.half_closed()
            behind = self._frame(at, end, receiver)
            if not behind:
                break
            at = behind
        if at < end:
            self._view[: end - at] = self._view[at:end]
        self._filled = end - at

    def drop(self) -> None:
        """Drop the bytes that have arrived, and parse nothing more."""
        self._dropped = True
        self._message = None
        self._place = memoryview(b"")
        self._prefix = b""

    def _frame(self, at: int, end: int, receiver: Receiver) -> int:
        """Take the frame at offset `at`; of a DATA frame, only its head.

        Returns:
            The offset after what was taken; 0 if the frame has not arrived completely.
        """
        if end - at < FRAME_BYTES:
            return 0
        high, low, kind, flags, stream = FRAME.unpack_from(self._buffer, at)
        length: int = high << 8 | low
        at += FRAME_BYTES
        if not self.heard and kind != SETTINGS:
            raise Broken("it begins with something else than HTTP/2's settings")
        if kind != DATA:
            if length > BUFFER - FRAME_BYTES:
                raise Broken(f"a frame of type {kind} of {length} bytes, expected at most {BUFFER}")
            if length > end - at:
                return 0
            self.heard += 1
            receiver.control(kind, flags, stream, bytes(self._view[at : at + length]))
            return at + length
        if stream != STREAM or not self.begun:
            raise Broken("DATA of a stream that was not begun")
        padding = 0
        if flags & PADDED:
            if at == end:
                return 0
            padding = self._buffer[at] + 1
            at += 1
            if padding > length:
                raise Broken("more padding than DATA")
        self._padding = max(0, padding - 1)
        self._left = length - padding
        self._last = bool(flags & END_STREAM)
        self.heard += 1
        self.taken += length
        return at

    def _begin(self, end: int) -> int:
        """The offset where the preface ends; 0 if it has not arrived completely."""
        preface = self._preface
        begun = min(end, len(preface))
        if self._buffer[:begun] != preface[:begun]:
            raise Broken("it begins with something else than HTTP/2's preface")
        if begun < len(preface):
            return 0
        self._preface = b""
        return begun

    def _data(self, at: int, end: int, receiver: Receiver) -> int:
        """Take the bytes of the current DATA that are in the buffer from offset `at`; the offset after them."""
        stop = min(end, at + self._left)
        self._left -= stop - at
        while at < stop and not self._dropped:
            if self._message is not None:
                size = min(stop - at, len(self._place))
                self._place[:size] = self._view[at : at + size]
                at += size
                self._fill(size, receiver)
                continue
            if self._prefix or stop - at < PREFIX_BYTES:
                begun = len(self._prefix)
                self._prefix += self._view[at : min(stop, at + PREFIX_BYTES - begun)]
                at += len(self._prefix) - begun
                if len(self._prefix) < PREFIX_BYTES:
                    break
                size = self._size(*PREFIX.unpack(self._prefix))
                self._prefix = b""
            else:
                size = self._size(*PREFIX.unpack_from(self._buffer, at))
                at += PREFIX_BYTES
            if size <= stop - at:
                receiver.message(bytes(self._view[at : at + size]))
                at += size
            else:
                self._message = self._place = room(size)
        return stop

    def _fill(self, size: int, receiver: Receiver) -> None:
        """Note that `size` more bytes were written to the incomplete message; deliver it if it is complete."""
        self._place = self._place[size:]
        message = self._message
        if message is not None and not self._place:
            self._message = None
            receiver.message(message)

    def _size(self, compressed: int, size: int) -> int:
        if compressed or size > self._most_bytes:
            what = "compressed" if compressed else f"of {size} bytes"
            raise Broken(f"a message {what}, expected at most {self._most_bytes} bytes, not compressed")
        return size
