"""What comes in: frames are cut out of it, and the stream's messages out of these.

Small messages are copied out of a buffer that stays. One that is not there as a whole is given a place of its own, and
what is still to come of it is read from the socket right into that place.
"""

from __future__ import annotations

from collections.abc import Callable

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

BUFFER = 2**16  # bytes; a frame that is no DATA has to fit in


class Incoming:
    """See the module's text.

    Args:
        preface: what comes before the first frame.
        control: called with each frame but DATA: its type, flags, stream and payload.
        message: called with each message.
        ended: called where the stream ends with DATA.
        most_bytes: of a message.

    `heard` grows with each frame and each piece of a large message, `taken` counts the bytes that count against the
    windows. DATA is taken once `begun` is set, which it is from the beginning where there is no preface.
    """

    def __init__(
        self,
        preface: bytes,
        control: Callable[[int, int, int, bytes], None],
        message: Callable[[Buffer], None],
        ended: Callable[[], None],
        most_bytes: int,
    ) -> None:
        self.heard = self.taken = 0
        self.begun = not preface
        self._preface = preface
        self._control = control
        self._deliver = message
        self._ended = ended
        self._most_bytes = most_bytes
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._left = self._padding = 0  # bytes of DATA, and of padding behind them, that are still to come
        self._last = False  # whether the stream ends with them
        self._prefix = b""  # of a message, while it is not whole
        self._message: memoryview | None = None  # that is still to come in part
        self._place = memoryview(b"")  # of that part

    def place(self) -> memoryview:
        """Where the next bytes are to be put; never empty."""
        if self._message is not None and self._left:
            return self._place[: self._left]
        return self._view[self._filled :]

    def read(self, size: int) -> None:
        """Take so many bytes that were put into `place`.

        Raises:
            Broken: where they are not as they should be.
        """
        if self._message is not None and self._left:
            self.heard += 1
            self._left -= size
            self._fill(size)
            at = end = 0
        else:
            at, end = 0, self._filled + size
            if self._preface and not (at := self._begin(end)):
                self._filled = end
                return
        while True:
            if self._left:
                at = self._data(at, end)
            if self._padding and not self._left:
                skipped = min(self._padding, end - at)
                self._padding -= skipped
                at += skipped
            if self._left or self._padding:
                break
            if self._last:
                self._last = False
                self._ended()
            behind = self._frame(at, end)
            if not behind:
                break
            at = behind
        if at < end:
            self._view[: end - at] = self._view[at:end]
        self._filled = end - at

    def _frame(self, at: int, end: int) -> int:
        """Take the frame at an offset, of DATA only its head; the offset behind that, 0 while it is not there."""
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
            self._control(kind, flags, stream, bytes(self._view[at : at + length]))
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
        """Where the preface ends; 0 while it is not whole."""
        preface = self._preface
        begun = min(end, len(preface))
        if self._buffer[:begun] != preface[:begun]:
            raise Broken("it begins with something else than HTTP/2's preface")
        if begun < len(preface):
            return 0
        self._preface = b""
        return begun

    def _data(self, at: int, end: int) -> int:
        """Take the stream's bytes that are in the buffer from an offset on; the offset behind them."""
        stop = min(end, at + self._left)
        self._left -= stop - at
        while at < stop:
            if self._message is not None:
                size = min(stop - at, len(self._place))
                self._place[:size] = self._view[at : at + size]
                at += size
                self._fill(size)
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
                self._deliver(bytes(self._view[at : at + size]))
                at += size
            else:
                self._message = self._place = room(size)
        return stop

    def _fill(self, size: int) -> None:
        """So many bytes of the message were put into its place."""
        self._place = self._place[size:]
        message = self._message
        if message is not None and not self._place:
            self._message = None
            self._deliver(message)

    def _size(self, compressed: int, size: int) -> int:
        if compressed or size > self._most_bytes:
            what = "compressed" if compressed else f"of {size} bytes"
            raise Broken(f"a message {what}, expected at most {self._most_bytes} bytes, not compressed")
        return size
