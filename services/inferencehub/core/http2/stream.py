"""The stream and its connection: what is the same at both ends (RFC 9113, and gRPC's "PROTOCOL-HTTP2").

grpc.aio passes each message to a thread of its core and its answer back from there, which costs more than a small model
takes to run, and copies a large one on the way. Here a message is a DATA frame written to the socket, and messages are
cut out of what was read; nothing is awaited. There is one stream, so that this is all that HTTP/2 needs: both windows,
the other side's settings, pings, and the ways in which a stream or its connection can end. Header blocks are hpack's.
"""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    PADDED,
    PING,
    PRIORITY,
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
from inferencehub.core.http2.incoming import Incoming
from inferencehub.core.http2.outgoing import Outgoing
from inferencehub.core.values.tensors import Buffer

GIVE_BACK = 2**30
HEAD_BYTES = 2**16


class Stream(asyncio.BufferedProtocol, ABC):
    """An end of a stream that has its connection for itself: an asyncio protocol.

    Both windows are opened as far as they go: what is on its way is bounded by the calls that run.

    Args:
        preface: what the other side begins with.
        received: called with each message that comes.
        most_bytes: of such a message.
        give_back: bytes that come in until the window is opened again.
    """

    def __init__(
        self,
        preface: bytes,
        received: Callable[[Buffer], None],
        most_bytes: int,
        give_back: int = GIVE_BACK,
    ) -> None:
        self._give_back = give_back
        self.over = False
        self._transport: asyncio.Transport | None = None
        self._incoming = Incoming(preface, self._control, received, self._half_closed, most_bytes)
        self._outgoing = Outgoing(self._write_all)
        self._decoder, self._encoder = Decoder(max_header_list_size=HEAD_BYTES), Encoder()
        self._block = b""  # of headers, as far as they have come
        self._last = False  # whether the stream ends with them

    @property
    def heard(self) -> int:
        """Grows with whatever comes."""
        return self._incoming.heard

    @property
    def unsent(self) -> int:
        """Bytes that have not left this process."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outgoing.held + waiting

    # --- for the two ends ---

    @abstractmethod
    def _headed(self, headers: Mapping[str, str], last: bool) -> None:
        """A block of headers has come; the stream may end with it."""

    @abstractmethod
    def _half_closed(self) -> None:
        """The other side sends nothing more."""

    @abstractmethod
    def _ended(self, why: str) -> None:
        """The stream or its connection broke off; called once at most, and not after `_end`."""

    # --- asyncio's calls ---

    def connection_made(self, transport: Any) -> None:
        """Say what this side takes."""
        self._transport = transport
        self._write(self._opening())

    def _opening(self) -> bytes:
        """What this side begins with."""
        return settings((INITIAL_WINDOW_SIZE, WINDOW), (MAX_FRAME_SIZE, FRAME_LIMIT)) + frame(
            WINDOW_UPDATE, 0, 0, NUMBER.pack(WINDOW - FIRST_WINDOW)
        )

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes are to be put."""
        return self._incoming.place()

    def buffer_updated(self, size: int) -> None:
        """They are there."""
        incoming = self._incoming
        try:
            incoming.read(size)
        except (Broken, HPACKError, struct.error, IndexError, ValueError) as error:
            self._break(f"it does not speak gRPC: {error}")
        if incoming.taken >= self._give_back:
            for stream in (0, STREAM):
                self._write(frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(incoming.taken)))
            incoming.taken = 0

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, and the stream with it."""
        self._break(str(error or "the connection was closed"))

    # --- what its user calls ---

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send a message, given in parts; nothing once the stream is over."""
        if not self.over:
            self._outgoing.send(parts)

    # --- the rest ---

    def _write(self, data: Buffer) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _write_all(self, data: Sequence[Buffer]) -> None:
        if self._transport is not None:
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
                self._transport.abort()  # closed, it would be kept until the other side has read what was written
            self._ended(why)

    def _end(self) -> None:
        """The stream is over, and so is its connection."""
        self.over = True
        self._outgoing.drop()
        if self._transport is not None:
            self._transport.close()

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            self._outgoing.open(stream, payload)
        elif kind == PING:
            if not flags & ACK:
                self._write(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS:
            if not flags & ACK:
                self._write(frame(SETTINGS, ACK, 0))  # before what they allow
                self._outgoing.set(payload)
        elif kind == HEADERS:
            if stream != STREAM:
                raise Broken(f"stream {stream}, where each has a connection of its own")
            if flags & PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            self._block = payload[5:] if flags & PRIORITY else payload
            self._last = bool(flags & END_STREAM)
            if flags & END_HEADERS:
                self._whole()
        elif kind == CONTINUATION:
            self._block += payload
            if len(self._block) > HEAD_BYTES:
                raise Broken(f"headers of more than {HEAD_BYTES} bytes")
            if flags & END_HEADERS:
                self._whole()
        elif kind == RST_STREAM:
            self._break(f"the stream was reset (HTTP/2 error {NUMBER.unpack(payload)[0]})")
        elif kind == GOAWAY:
            last, error = TWO_NUMBERS.unpack_from(payload)
            if error or (last & WINDOW) < STREAM:
                self._break(f"the other side goes away (HTTP/2 error {error})")
        elif kind == PUSH_PROMISE:
            raise Broken("a push, which it was told not to send")

    def _whole(self) -> None:
        """A block of headers is whole."""
        decoded = self._decoder.decode(self._block)
        self._block = b""
        self._incoming.begun = True
        self._headed({str(name): str(value) for name, value in decoded}, self._last)
