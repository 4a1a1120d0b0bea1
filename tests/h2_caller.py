"""A caller of gRPC that does with HTTP/2 what gRPC's own clients never do: it stops reading, or sends half a message."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import pack
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


class H2Caller:
    """A connection. Windows stay as they are until `read` opens them.

    `data` has what came of each stream's answer, `trailers` its end, and `lost` is True once the connection has ended.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.data: dict[int, bytes] = {}
        self.trailers: dict[int, dict[str, str]] = {}
        self.ended: set[int] = set()
        self.lost = False
        self.reads = False
        self.acked = False  # the last ping was answered
        self.going = False  # the server has sent GOAWAY
        self._reader, self._writer = reader, writer
        self._changed = asyncio.Event()  # replaced at each change
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._flush()
        self._reading = asyncio.create_task(self._read())

    def call(
        self,
        path: str,
        message: bytes,
        size: int | None = None,
        flag: int = 0,
        end: bool = True,
        **fields: str,
    ) -> int:
        """Begin a call; the number of its stream.

        Args:
            path: its method.
            message: what is sent of its message.
            size: the length that its prefix tells; if it is larger, the message stays incomplete.
            flag: 1 says that the message is compressed.
            end: whether it is the last message of the call, if it is whole.
            fields: more headers, "_" for "-".
        """
        number = self.h2.get_next_available_stream_id()
        more = [(name.replace("_", "-"), value) for name, value in fields.items()]
        self.h2.send_headers(number, [(":path", path), *HEADERS, *more])
        self.data[number] = b""
        whole = end and (size is None or size == len(message))
        prefix = pack(">BI", flag, len(message) if size is None else size)
        self._flush()
        self._sending[number] = asyncio.create_task(self._send(number, prefix + message, whole))
        return number

    async def rest(self, number: int, data: bytes, end: bool = True) -> None:
        """Send more of a call's messages, after what is sent already, and its end."""
        await self._sending[number]
        await self._send(number, data, end)

    def more(self, number: int, data: bytes) -> None:
        """Send more of a call's messages, and its end, as the server takes it."""
        self._sending[number] = asyncio.create_task(self._send(number, data, True))

    def read(self) -> None:
        """From now on, take all answers."""
        self.reads = True
        for number, data in self.data.items():
            if number not in self.ended and data:
                self.h2.acknowledge_received_data(len(data), number)
        self._flush()

    async def ping(self) -> None:
        """Send a ping, and wait for its answer or the connection's end."""
        self.acked = False
        self.h2.ping(bytes(8))
        self._flush()
        async with asyncio.timeout(60):
            while not self.acked and not self.lost and not self.going:
                await self._change()

    async def until(self, number: int) -> dict[str, str]:
        """Wait for the end of a call; its trailers."""
        async with asyncio.timeout(60):
            while number not in self.ended:
                assert not self.lost, "the connection has ended"
                await self._change()
        return self.trailers.get(number, {})

    async def until_lost(self) -> None:
        """Wait until the server has ended the connection."""
        async with asyncio.timeout(60):
            while not self.lost:
                await self._change()

    async def close(self) -> None:
        """End the connection."""
        for task in (self._reading, *self._sending.values()):
            task.cancel()
        self._writer.close()

    async def _send(self, number: int, message: bytes, whole: bool) -> None:
        at = 0
        while at < len(message) and not self.lost and number not in self.ended:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room > 0:
                self.h2.send_data(number, message[at : at + room])
                at += room
                self._flush()
                await self._writer.drain()
            else:
                await self._change()
        if whole and not self.lost and number not in self.ended:
            self.h2.end_stream(number)
            self._flush()

    async def _change(self) -> None:
        await self._changed.wait()

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(2**16):
                for event in self.h2.receive_data(data):
                    self._took(event)
                self._flush()
                self._tell()
        except ConnectionError:
            pass
        self.lost = True
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _took(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self.data[event.stream_id] += event.data or b""
            if self.reads and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived | ResponseReceived):  # an error may come without trailers
            fields = {str(name): unquote(str(value)) for name, value in event.headers or ()}
            self.trailers[event.stream_id] = fields
        elif isinstance(event, StreamEnded | StreamReset):
            self.ended.add(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            self.going = True
        elif isinstance(event, PingAckReceived):
            self.acked = True

    def _flush(self) -> None:
        self._writer.write(self.h2.data_to_send())


@asynccontextmanager
async def h2_caller(
    port: int, host: str = "127.0.0.1", local: tuple[str, int] | None = None
) -> AsyncIterator[H2Caller]:
    """A connection to a gRPC port, from an address of this machine if one is given."""
    reader, writer = await asyncio.open_connection(host, port, local_addr=local)
    if local is not None:  # it is reset at its end, so that the address is free at once
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    caller = H2Caller(reader, writer)
    try:
        yield caller
    finally:
        await caller.close()
