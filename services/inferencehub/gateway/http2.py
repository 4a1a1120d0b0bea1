"""One gRPC stream on an HTTP/2 connection of its own (RFC 9113, and gRPC's "PROTOCOL-HTTP2").

grpc.aio passes each message to a thread of its core and its answer back from there, which costs more than a small model
takes to run, and copies a large one on the way. Here a message is a DATA frame written to the socket, and answers are
cut out of what was read; nothing is awaited. There is one stream, so that this is all that HTTP/2 needs: both windows,
the other side's settings, pings, and the ways in which a stream or its connection can end. Header blocks are hpack's.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, NamedTuple
from urllib.parse import unquote

from hpack import Decoder, Encoder, HPACKError

from inferencehub.core.tensors import Buffer

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
MAX_FRAME_SIZE, INITIAL_WINDOW_SIZE, ENABLE_PUSH = 5, 4, 2  # settings
CANCEL = 8
STREAM = 1
FRAME = Struct(">HBBBI")  # 24 bits of length, type, flags, stream
FRAME_BYTES = FRAME.size
PREFIX = Struct(">BI")  # of a gRPC message: whether it is compressed, and its length
SETTING = Struct(">HI")
NUMBER, TWO_NUMBERS = Struct(">I"), Struct(">II")
WINDOW = 2**31 - 1  # the most that HTTP/2 allows: what is on its way is bounded by the calls that run
GIVE_BACK = 2**30  # bytes that came in until the window is opened again
LARGE = (
    2**14
)  # bytes of the smallest frame limit that HTTP/2 allows, and from which on a part is written as it is, rather than copied into one with those before it
FRAME_LIMIT = 2**24 - 1
HEAD_BYTES = 2**16
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Ended(NamedTuple):
    """How a stream ended: the gRPC status that the server gave, or -1 where it was broken, and why."""

    status: int
    detail: str


class Broken(Exception):
    """The server does not speak as it should."""


class Gathered:
    """Bytes that come in pieces, until there are as many as are needed."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = self._needed = 0

    def add(self, data: bytes) -> bytes:
        """All that is there; b"" while it is not enough."""
        if not self._pieces:
            return data
        self._pieces.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return b""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    def keep(self, data: bytes, needed: int) -> None:
        """Hold the rest, of which nothing can be made before there are `needed` bytes."""
        self._pieces.append(data)
        self._size, self._needed = len(data), needed


class Http2Stream(asyncio.Protocol):
    """See the module's text; a protocol for `loop.create_connection`.

    Args:
        authority: host and port of the server.
        path: /service/method.
        metadata: what the stream begins with.
        received: called with each message.
        most_bytes: of a message.

    `began` is done with the server's metadata once it has taken the stream, `ended` once the stream is over.
    """

    def __init__(
        self,
        authority: str,
        path: str,
        metadata: Sequence[tuple[str, str]],
        received: Callable[[bytes], None],
        most_bytes: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.began: asyncio.Future[dict[str, str]] = loop.create_future()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self.heard = 0  # frames that came
        self._request = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        ]
        self._received = received
        self._most_bytes = most_bytes
        self._transport: asyncio.Transport | None = None
        self._frames, self._messages = Gathered(), Gathered()
        self._block = b""  # of headers, as far as they have come
        self._last = False  # whether the stream ends with it
        self._decoder = Decoder()
        self._unsent: deque[memoryview] = deque()
        self._stream_window = self._connection_window = self._initial_window = 65_535
        self._frame_limit = 16_384
        self._taken = 0  # bytes that came in since the window was opened

    # --- asyncio's calls ---

    def connection_made(self, transport: Any) -> None:
        """Say what this side takes, and begin the stream."""
        self._transport = transport
        settings = ((ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, WINDOW), (MAX_FRAME_SIZE, FRAME_LIMIT))
        transport.write(
            PREFACE
            + frame(SETTINGS, 0, 0, b"".join([SETTING.pack(*setting) for setting in settings]))
            + frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(WINDOW - 65_535))
            + frame(HEADERS, END_HEADERS, STREAM, Encoder().encode(self._request))
        )

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        data = self._frames.add(data)
        at, end = 0, len(data)
        try:
            while end - at >= FRAME_BYTES:
                high, low, kind, flags, stream = FRAME.unpack_from(data, at)
                stop = at + FRAME_BYTES + (high << 8 | low)
                if not self.heard and kind != SETTINGS:
                    raise Broken("it begins with something else than HTTP/2's settings")
                if stop > end:
                    break
                self.heard += 1
                if kind == DATA:
                    self._data(data, at + FRAME_BYTES, stop, flags)
                else:
                    self._control(kind, flags, stream, data[at + FRAME_BYTES : stop])
                at = stop
        except (Broken, HPACKError, struct.error, IndexError, ValueError) as error:
            self._end(Ended(-1, f"it does not speak gRPC: {error}"))
        else:
            if at < end:
                needed = stop - at if end - at >= FRAME_BYTES else FRAME_BYTES
                self._frames.keep(data[at:], needed)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, and the stream with it."""
        self._end(Ended(-1, str(error or "the connection was closed")))

    # --- what its user calls ---

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send a message, given in parts; nothing once the stream has ended."""
        size = sum(map(len, parts))
        if self.ended.done():
            return
        prefix = PREFIX.pack(0, size)
        size += PREFIX.size
        if self._unsent or size > LARGE or size > self._stream_window or size > self._connection_window:
            self._queue(prefix, parts)
            self._flush()
            return
        self._stream_window -= size
        self._connection_window -= size
        head = FRAME.pack(size >> 8, size & 255, DATA, 0, STREAM)
        self._write(b"".join([head, prefix, *parts]))

    def ping(self) -> None:
        """Make the server say something."""
        self._write(frame(PING, 0, 0, bytes(8)))

    def close(self) -> None:
        """End the stream, if it has not ended, and its connection, if there is one."""
        if not self.ended.done():
            self._write(frame(RST_STREAM, 0, STREAM, NUMBER.pack(CANCEL)))
            self._end(Ended(-1, "closed"))

    # --- the way out ---

    def _write(self, data: Buffer) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _queue(self, prefix: bytes, parts: Sequence[Buffer]) -> None:
        small: list[Buffer] = [prefix]
        for part in parts:
            if len(part) < LARGE:
                small.append(part)
                continue
            self._unsent += (memoryview(b"".join(small)), memoryview(part))
            small.clear()
        if small:
            self._unsent.append(memoryview(b"".join(small)))

    def _flush(self) -> None:
        """Write as much as the server's windows allow."""
        unsent = self._unsent
        while unsent:
            part = unsent[0]
            size = min(len(part), self._stream_window, self._connection_window, self._frame_limit)
            if size <= 0 < len(part):
                return
            self._stream_window -= size
            self._connection_window -= size
            self._write(FRAME.pack(size >> 8, size & 255, DATA, 0, STREAM))
            self._write(part[:size])
            if size == len(part):
                unsent.popleft()
            else:
                unsent[0] = part[size:]

    # --- the way in ---

    def _data(self, data: bytes, start: int, stop: int, flags: int) -> None:
        self._taken += stop - start
        if self._taken >= GIVE_BACK:
            for stream in (0, STREAM):
                self._write(frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(self._taken)))
            self._taken = 0
        end = stop
        if flags & PADDED:
            end -= data[start]
            start += 1
        data = self._messages.add(data[start:end])
        at, end = 0, len(data)
        while end - at >= PREFIX.size:
            compressed, size = PREFIX.unpack_from(data, at)
            if compressed or size > self._most_bytes:
                what = "compressed" if compressed else f"of {size} bytes"
                raise Broken(f"a message {what}, expected at most {self._most_bytes} bytes, not compressed")
            message = at + PREFIX.size
            if end - message < size:
                break
            self._received(data[message : message + size])
            at = message + size
        if at < end:
            self._messages.keep(data[at:], PREFIX.size + (size if end - at >= PREFIX.size else 0))
        if flags & END_STREAM:
            raise Broken("the stream ends without a status")

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            more = NUMBER.unpack(payload)[0] & WINDOW
            if stream:
                self._stream_window += more
            else:
                self._connection_window += more
            self._flush()
        elif kind == PING:
            if not flags & ACK:
                self._write(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS:
            if not flags & ACK:
                self._settings(payload)
        elif kind == HEADERS:
            if flags & PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            self._block = payload[5:] if flags & PRIORITY else payload
            self._last = bool(flags & END_STREAM)
            if flags & END_HEADERS:
                self._head()
        elif kind == CONTINUATION:
            self._block += payload
            if len(self._block) > HEAD_BYTES:
                raise Broken(f"headers of more than {HEAD_BYTES} bytes")
            if flags & END_HEADERS:
                self._head()
        elif kind == RST_STREAM:
            self._end(Ended(-1, f"the stream was reset (HTTP/2 error {NUMBER.unpack(payload)[0]})"))
        elif kind == GOAWAY:
            last, error = TWO_NUMBERS.unpack_from(payload)
            if error or (last & WINDOW) < STREAM:
                self._end(Ended(-1, f"the server goes away (HTTP/2 error {error})"))
        elif kind == PUSH_PROMISE:
            raise Broken("a push, which it was told not to send")

    def _settings(self, payload: bytes) -> None:
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif name == MAX_FRAME_SIZE:
                self._frame_limit = value
        self._write(frame(SETTINGS, ACK, 0))
        self._flush()

    def _head(self) -> None:
        """A block of headers is whole: the server's metadata, or its trailers."""
        headers = {str(name): str(value) for name, value in self._decoder.decode(self._block)}
        if not self.began.done():
            status = headers.get(":status")
            if status != "200":
                raise Broken(f"it answers with HTTP status {status}")
            if not self._last:
                self.began.set_result(headers)
        if self._last:
            status = headers.get("grpc-status", "")
            detail = unquote(headers.get("grpc-message", ""))
            self._end(Ended(int(status), detail) if status.isdigit() else Ended(-1, "no status"))

    def _end(self, ended: Ended) -> None:
        if self.ended.done():
            return
        self.ended.set_result(ended)
        self._unsent.clear()
        if self._transport is not None:
            self._transport.close()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return FRAME.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload
