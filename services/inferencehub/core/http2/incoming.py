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
    WINDOW,
    Broken,
)
from inferencehub.core.http2.half_message import Budget, GivenUp, HalfMessage
from inferencehub.core.values.tensors import Buffer

BUFFER = 2**16  # bytes; every frame other than DATA must fit in
TURN = 128  # frames and messages that are taken before other connections have their turn
SPARE = 256  # frames without data that a peer may send in a second
# An empty DATA frame costs little, and older gateways send one between the large parts of a message.
OF_EMPTY_DATA = 1 / 32  # of a frame without data


class Receiver(Protocol):
    """Gets what was parsed. The parser does not keep it: they would refer to each other, and so stay in memory."""

    def control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Take a frame other than DATA."""

    def message(self, data: Buffer) -> None:
        """Take a message."""

    def oversized(self, size: int) -> None:
        """A message of `size` bytes begins, more than the limit; it will be given up.

        Raises:
            Broken: if such a message ends the connection.
        """

    def given_up(self, head: bytes, why: GivenUp) -> None:
        """Take the beginning of a message that was given up; the rest of it is dropped."""

    def half_closed(self) -> None:
        """The peer has ended its side of the stream with DATA."""


class Incoming:
    """The parser of one connection's received bytes (see the module's docstring).

    `heard` grows with each frame and each piece of a large message. `taken` counts the received bytes that count
    against the windows. DATA is accepted only when `begun` is set; without a preface it is set from the start. `turn`
    and `spare` are how many of TURN and SPARE are left; the user sets them again. `half` is the incomplete message.

    Args:
        preface: bytes that the peer sends before its first frame.
        most_bytes: bytes of the largest message that is accepted.
        budget: accounts for the bytes of an incomplete message; None for no limit.
    """

    def __init__(self, preface: bytes, most_bytes: int, budget: Budget | None = None) -> None:
        self.heard = self.taken = 0
        self.turn = TURN
        self.spare: float = SPARE
        self.begun = not preface
        self.closed = False  # whether the peer has ended its side of the stream
        self._preface = preface
        self._most_bytes = most_bytes
        self._dropped = False
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._left = self._padding = 0  # bytes of the current DATA, and of its padding, that have not arrived
        self._last = False  # whether the current DATA ends the stream
        self._prefix = b""  # a message's prefix, as long as it is incomplete
        self.half = HalfMessage(budget)

    @property
    def behind(self) -> bool:
        """Whether the turn was over before all bytes were parsed."""
        return self.turn <= 0 and (self._filled > 0 or self._last) and not self._dropped

    def place(self) -> memoryview:
        """The buffer that the next bytes must be written to; never empty."""
        if self.half.wants and self._left:
            return self.half.place[: self._left]
        return self._view[self._filled :]

    def read(self, size: int, receiver: Receiver) -> None:
        """Parse `size` bytes that were written to `place()`, and give the receiver what they contain.

        Raises:
            Broken: if they violate the protocol.
        """
        if self.half.wants and self._left:
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
                if self.turn <= 0:
                    break
            if self._padding and not self._left:
                skipped = min(self._padding, end - at)
                self._padding -= skipped
                at += skipped
            if self._left or self._padding:
                break
            if self._last:
                self._last = False
                if self.half.there or self._prefix:
                    raise Broken("the stream ends inside a message")
                receiver.half_closed()
            behind = self._frame(at, end, receiver) if self.turn > 0 else 0
            if not behind:
                break
            at = behind
            self.turn -= 1
        if at < end:
            self._view[: end - at] = self._view[at:end]
        self._filled = end - at

    def check_open(self) -> None:
        """Check that the peer has not ended its side of the stream.

        Raises:
            Broken: if it has.
        """
        if self.closed:
            raise Broken("more of a stream after its end")

    def give_up(self, why: GivenUp, receiver: Receiver) -> None:
        """Give up the incomplete message, and tell the receiver; nothing happens if there is none."""
        self.half.give_up(why)
        self._refuse(receiver)

    def drop(self) -> None:
        """Drop the bytes that have arrived, and parse nothing more."""
        self._dropped = True
        self._prefix = b""
        self.half.drop()

    def _frame(self, at: int, end: int, receiver: Receiver) -> int:
        """Take the frame at offset `at`; of a DATA frame, only its head.

        Returns:
            The offset after what was taken; 0 if the frame has not arrived completely.
        """
        if end - at < FRAME_BYTES:
            return 0
        high, low, kind, flags, stream = FRAME.unpack_from(self._buffer, at)
        length: int = high << 8 | low
        stream &= WINDOW  # its highest bit is reserved
        at += FRAME_BYTES
        if not self.heard and kind != SETTINGS:
            raise Broken("it begins with something else than HTTP/2's settings")
        if kind != DATA:
            if length > BUFFER - FRAME_BYTES:
                raise Broken(f"a frame of type {kind} of {length} bytes, expected at most {BUFFER}")
            if length > end - at:
                return 0
            self.heard += 1
            self._no_data(1)
            receiver.control(kind, flags, stream, bytes(self._view[at : at + length]))
            return at + length
        if stream != STREAM or not self.begun:
            raise Broken("DATA of a stream that was not begun")
        self.check_open()
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
        if not self._left:
            self._no_data(1 if padding else OF_EMPTY_DATA)
        self._last = self.closed = bool(flags & END_STREAM)
        self.heard += 1
        self.taken += length
        return at

    def _no_data(self, cost: float) -> None:
        self.spare -= cost
        if self.spare < 0:
            raise Broken(f"more than {SPARE} frames without data in a second")

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
        """Take the bytes of the current DATA that are in the buffer from offset `at`; the offset after them.

        An incomplete message takes all that is there, even if the turn is over: the rest is read into its buffer.
        """
        half, start, stop = self.half, at, min(end, at + self._left)
        while at < stop and not self._dropped and (self.turn > 0 or half.wants):
            if half.wants:
                size = min(stop - at, len(half.place))
                half.place[:size] = self._view[at : at + size]
                at += size
                self._fill(size, receiver)
                continue
            if half.skip:
                size = min(stop - at, half.skip)
                half.skipped(self._view[at : at + size])
                at += size
                self._refuse(receiver)
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
            if size > self._most_bytes:
                receiver.oversized(size)
                half.pass_over(size, GivenUp.TOO_LARGE)
            elif size <= stop - at:
                self.turn -= 1
                receiver.message(bytes(self._view[at : at + size]))
                at += size
            else:
                half.begin(size)
        self._left -= at - start
        return at

    def _fill(self, size: int, receiver: Receiver) -> None:
        """`size` more bytes were written to the incomplete message; deliver it if it is complete."""
        message = self.half.filled(size)
        if message is not None:
            receiver.message(message)
        else:
            self._refuse(receiver)

    def _refuse(self, receiver: Receiver) -> None:
        """Tell the receiver of a message that was given up, if enough of it has arrived."""
        refusal = self.half.refusal()
        if refusal is not None:
            receiver.given_up(*refusal)

    def _size(self, compressed: int, size: int) -> int:
        if compressed:
            raise Broken("a message that is compressed, expected one that is not")
        return size
