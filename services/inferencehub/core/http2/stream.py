"""What both ends of a stream and its connection share (RFC 9113, and gRPC's "PROTOCOL-HTTP2").

grpc.aio hands each message to a thread of its core, and each answer back. That takes longer than a small model runs,
and it copies large messages. Here a message is written to the socket as a DATA frame, and received messages are cut out
of the bytes that were read; nothing is awaited. A connection has only one stream, so this file needs little of HTTP/2:
both windows, the peer's settings, pings, and the ways in which a stream or its connection can end. The library hpack
encodes and decodes header blocks.
"""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpack import Decoder, Encoder, HPACKError

from inferencehub.core.http2.frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    FRAME_LIMIT,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NUMBER,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM,
    TWO_NUMBERS,
    WINDOW,
    WINDOW_UPDATE,
    Broken,
    frame,
    settings,
)
from inferencehub.core.http2.half_message import Budget, GivenUp
from inferencehub.core.http2.incoming import SPARE, TURN, Incoming
from inferencehub.core.http2.outgoing import Outgoing
from inferencehub.core.http2.rules import block_of, check_frame
from inferencehub.core.values.tensors import Buffer

GIVE_BACK = 2**30
HEAD_BYTES = 2**16


class Stream(asyncio.BufferedProtocol, ABC):
    """One end of a stream with its own connection; an asyncio protocol.

    Both receive windows are as large as HTTP/2 allows: the number of running calls already limits the bytes on the way.

    Args:
        preface: bytes that the peer sends before its first frame.
        most_bytes: bytes of the largest message that is accepted.
        give_back: number of received bytes after which the windows are opened again.
        budget: accounts for the bytes of an incomplete message; None for no limit.
    """

    def __init__(
        self, preface: bytes, most_bytes: int, give_back: int = GIVE_BACK, budget: Budget | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._give_back = give_back
        self._pass = self._refill = (
            0.0  # the event loop's time: of its current pass, and of the next refill of `spare`
        )
        self.received = 0  # bytes, since the connection began
        self._stuck = False  # the peer does not read
        self._reading = True
        self.over = False
        self._transport: asyncio.Transport | None = None
        self._incoming = Incoming(preface, most_bytes, budget)
        self._outgoing = Outgoing()
        self._decoder, self._encoder = Decoder(max_header_list_size=HEAD_BYTES), Encoder()
        self._block = b""  # the part of a header block that has arrived
        self._in_block = False  # whether more of it must come
        self._last = False  # whether that block ends the stream

    @property
    def heard(self) -> int:
        """A number that grows whenever something is received."""
        return self._incoming.heard

    @property
    def sent(self) -> int:
        """Bytes of messages that were to be sent since the connection began."""
        return self._outgoing.sent

    def unsent(self) -> int:
        """Bytes that wait in this process to be sent."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outgoing.held + waiting

    def moved(self) -> bool:
        """Whether bytes were sent that `unsent` does not show: never."""
        return False

    # --- for the two ends ---

    @abstractmethod
    def _check_headers(self, headers: list[tuple[str, str]], last: bool) -> None:
        """Check a block of headers before it is used.

        Raises:
            Broken: if it breaks the protocol, or must not come now.
        """

    @abstractmethod
    def _headed(self, headers: Mapping[str, str], last: bool) -> None:
        """A block of headers has arrived; `last` says whether it ends the stream."""

    @abstractmethod
    def message(self, data: Buffer) -> None:
        """See `Receiver`."""

    def oversized(self, size: int) -> None:
        """See `Receiver`."""

    @abstractmethod
    def given_up(self, head: bytes, why: GivenUp) -> None:
        """See `Receiver`."""

    @abstractmethod
    def half_closed(self) -> None:
        """See `Receiver`."""

    @abstractmethod
    def _ended(self, why: str) -> None:
        """The stream or its connection broke; called at most once, and not after `_end`."""

    # --- asyncio's calls ---

    def connection_made(self, transport: Any) -> None:
        """Send this side's settings."""
        self._transport = transport
        self._write(self._opening())

    def _opening(self) -> bytes:
        """The first bytes that this side sends."""
        return settings((INITIAL_WINDOW_SIZE, WINDOW), (MAX_FRAME_SIZE, FRAME_LIMIT)) + frame(
            WINDOW_UPDATE, 0, 0, NUMBER.pack(WINDOW - FIRST_WINDOW)
        )

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer that asyncio must write the next bytes to."""
        return self._incoming.place()

    def buffer_updated(self, size: int) -> None:
        """Parse `size` bytes that asyncio has written to the buffer; drop the connection if they are invalid."""
        self.received += size
        incoming = self._incoming
        now = self._loop.time()
        if now != self._pass:
            self._pass, incoming.turn = now, TURN
            if now >= self._refill:
                self._refill, incoming.spare = now + 1.0, SPARE
        try:
            incoming.read(size, self)
        except (Broken, HPACKError, struct.error, IndexError, ValueError) as error:
            self._break(f"it does not speak gRPC: {error}")
        if incoming.taken >= self._give_back:
            for stream in (0, STREAM):
                self._write(frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(incoming.taken)))
            incoming.taken = 0
        if incoming.turn <= 0 and incoming.behind:
            self._regulate()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Parse what was left when the turn was over."""
        if self.over or self._stuck or not self._incoming.behind:
            return
        self._incoming.turn = TURN
        try:
            self.buffer_updated(0)
        except Exception:
            self._break("it failed")  # the event loop does the same if it calls `buffer_updated`
            raise
        self._regulate()

    def _regulate(self) -> None:
        """Read from the peer, unless it does not read itself or has sent more than fits into a turn."""
        reading = not (self._stuck or self._incoming.behind)
        if self._transport is not None and not self.over and reading is not self._reading:
            self._reading = reading
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, so the stream is over."""
        self._break(str(error or "the connection was closed"))
        self._transport = None  # with TLS it refers to what makes this object: a cycle

    # --- what its user calls ---

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send one message, which consists of `parts`; nothing is sent once the stream is over."""
        if not self.over:
            self._write_all(self._outgoing.send(parts))

    # --- the rest ---

    def _write(self, data: Buffer) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _write_all(self, data: Sequence[Buffer]) -> None:
        if data and self._transport is not None:
            self._transport.writelines(data)

    def _head(self, headers: Iterable[tuple[str, str]], last: bool) -> bytes:
        flags = END_HEADERS | END_STREAM if last else END_HEADERS
        return frame(HEADERS, flags, STREAM, self._encoder.encode(headers))

    def _reset(self, error: int) -> bytes:
        return frame(RST_STREAM, 0, STREAM, NUMBER.pack(error))

    def _break(self, why: str) -> None:
        if not self.over:
            self._end()
            if self._transport is not None:
                self._transport.abort()  # `close` would wait until the peer has read everything that was written
            self._ended(why)

    def _end(self) -> None:
        """End the stream and close its connection."""
        self.over = True
        self._incoming.drop()
        self._outgoing.drop()
        if self._transport is not None:
            self._transport.close()

    def control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """See `Receiver`."""
        check_frame(kind, flags, stream, payload, self._incoming.begun, self._in_block)
        if kind == WINDOW_UPDATE:
            self._write_all(self._outgoing.open(stream, payload))
        elif kind == PING:
            if not flags & ACK:
                self._write(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS:
            if not flags & ACK:
                self._write(frame(SETTINGS, ACK, 0))  # acknowledged before anything that they allow is sent
                self._write_all(self._outgoing.set(payload))
        elif kind in (HEADERS, CONTINUATION):
            if stream != STREAM:
                raise Broken(f"headers of stream {stream}, expected only stream {STREAM}")
            if kind == HEADERS:
                self._incoming.check_open()
                self._last = bool(flags & END_STREAM)
                payload = block_of(flags, payload)
            self._block += payload
            if len(self._block) > HEAD_BYTES:
                raise Broken(f"headers of more than {HEAD_BYTES} bytes")
            self._in_block = not flags & END_HEADERS
            if not self._in_block:
                self._whole()
        elif kind == RST_STREAM:
            self._break(f"the stream was reset (HTTP/2 error {NUMBER.unpack(payload)[0]})")
        elif kind == GOAWAY:
            last, error = TWO_NUMBERS.unpack_from(payload)
            if error or (last & WINDOW) < STREAM:
                self._break(f"the other side closes the connection (HTTP/2 error {error})")
        elif kind == PUSH_PROMISE:
            raise Broken("a server push, which was disabled")

    def _whole(self) -> None:
        """Decode a complete block of headers."""
        decoded = [(str(name), str(value)) for name, value in self._decoder.decode(self._block)]
        self._block = b""
        self._check_headers(decoded, self._last)
        self._incoming.begun = True
        self._incoming.closed = self._last
        self._headed(dict(decoded), self._last)
