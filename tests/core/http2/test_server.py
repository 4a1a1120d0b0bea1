"""The server end of a stream, against gRPC's own client, against h2's, and against bytes that no client would send."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, TrailersReceived
from h2.settings import SettingCodes

from inferencehub.core.http2.frames import CONTINUATION, HEADERS, PING, PREFACE, frame, settings
from inferencehub.core.http2.half_message import GivenUp
from inferencehub.core.http2.server import ServerStream
from inferencehub.core.values.tensors import Buffer
from tests.hub import eventually

METHOD = "/a.B/C"
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "a"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


class Echo(ServerStream):
    """Sends each message back, and ends the stream where one says so."""

    def __init__(self, **bounds: Any) -> None:
        super().__init__(20_000_000, **bounds)
        self.broken = ""
        self.messages = 0
        self.given: list[tuple[bytes, GivenUp]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        super().connection_made(transport)

    def _headed(self, headers: Mapping[str, str], last: bool) -> None:
        if self._begun:  # trailers
            self.half_closed()
        elif headers[":path"] != METHOD:
            self.finish(12, "100 % unknöwn")
        else:
            self.begin((("said", headers.get("say", "nothing")),))

    def given_up(self, head: bytes, why: GivenUp) -> None:
        self.given.append((head, why))

    def half_closed(self) -> None:
        self.finish(0)

    def _ended(self, why: str) -> None:
        self.broken = why

    def message(self, data: Buffer) -> None:
        self.messages += 1
        self.send((data[:1], data[1:]))
        if data == b"end":
            self.finish(0)


@asynccontextmanager
async def echoing(**bounds: Any) -> AsyncIterator[tuple[int, list[Echo]]]:
    """A server, its port and its connections."""
    echoes: list[Echo] = []

    def made() -> Echo:
        echoes.append(Echo(**bounds))
        return echoes[-1]

    listening = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], echoes
    finally:
        listening.close()
        for echo in echoes:
            echo._break("the test is over")


class Client:
    """A connection that speaks HTTP/2 by h2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.reader, self.writer = reader, writer
        self.body = b""

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def begin(self, window: int = 65_535, path: str = METHOD) -> None:
        """Begin a stream, with a window for what comes."""
        self.h2.local_settings = type(self.h2.local_settings)(
            client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.h2.initiate_connection()
        self.h2.send_headers(1, [(name, path if name == ":path" else value) for name, value in REQUEST])
        self.flush()

    def send(self, message: bytes) -> None:
        """Send a message, which has to fit into the windows."""
        self.h2.send_data(1, struct.pack(">BI", 0, len(message)) + message)
        self.flush()

    async def until(self, kind: type[Event]) -> Any:
        """The next event of a kind."""
        async with asyncio.timeout(30):
            while True:
                for event in await self._events():
                    if isinstance(event, kind):
                        return event

    async def until_body(self, size: int) -> None:
        """Read until so many bytes of the stream have come."""
        async with asyncio.timeout(30):
            while len(self.body) < size:
                await self._events()

    async def _events(self) -> list[Event]:
        data = await self.reader.read(2**16)
        assert data, "the connection was closed"
        events = self.h2.receive_data(data)
        self.body += b"".join([one.data or b"" for one in events if isinstance(one, DataReceived)])
        return events

    async def closed(self) -> None:
        """Wait until the other side has closed it."""
        async with asyncio.timeout(30):
            with suppress(ConnectionResetError):
                while await self.reader.read(2**16):
                    pass


@asynccontextmanager
async def connected(**bounds: Any) -> AsyncIterator[tuple[Client, Echo]]:
    """A client, and what the server has for it."""
    async with echoing(**bounds) as (port, echoes):
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        await eventually(lambda: echoes)
        yield client, echoes[0]
        client.writer.close()


async def test_gRPC_s_own_client_gets_its_messages_back() -> None:  # noqa: N802
    async with echoing() as (port, echoes):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            call: Any = channel.stream_stream(METHOD)(metadata=(("say", "hello"),))
            assert dict(await call.initial_metadata())["said"] == "hello"
            messages = [random.Random(n).randbytes(n) for n in (0, 1, 20_000, 65_536, 5_000_000, 3)]
            for message in messages:
                await call.write(message)
            assert [await asyncio.wait_for(call.read(), 30) for _ in messages] == messages
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
            assert len(echoes) == 1


async def test_one_that_is_refused_is_told_why() -> None:
    async with (
        echoing() as (port, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call: Any = channel.stream_stream("/a.B/Other")()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call.details() == "100 % unknöwn"


async def test_a_stream_that_ends_says_so_behind_its_last_message_and_leaves_the_closing_to_the_client() -> (
    None
):
    async with connected() as (client, echo):
        client.begin()
        await client.until(ResponseReceived)
        client.send(b"end")
        trailers = dict((await client.until(TrailersReceived)).headers)
        assert trailers["grpc-status"] == "0"
        assert client.body[5:] == b"end"
        await asyncio.sleep(0.1)
        client.writer.write(frame(0, 0, 1, b"\0\0\0\0\1x"))  # it was on its way
        await asyncio.sleep(0.1)
        assert not echo.transport.is_closing()
        client.writer.close()
        await client.writer.wait_closed()
        await eventually(lambda: echo.transport.is_closing())


async def test_a_client_that_leaves_a_stream_open_that_has_ended_is_cut_off() -> None:
    async with connected(patience_s=0.2) as (client, _):
        client.begin()
        client.send(b"end")
        await client.until(ConnectionTerminated)
        await client.closed()


@pytest.mark.parametrize("sent", [b"", PREFACE, PREFACE + settings()])
async def test_a_connection_that_begins_no_stream_is_closed(sent: bytes) -> None:
    async with connected(patience_s=0.2) as (client, echo):
        client.writer.write(sent)
        await client.closed()
        assert echo.broken == "it is silent"


@pytest.mark.long
async def test_a_client_that_is_never_heard_of_again_is_given_up() -> None:
    async with connected(patience_s=1.0, silent_s=1.0) as (client, echo):
        client.begin()
        for _ in range(25):
            client.writer.write(frame(PING, 0, 0, bytes(8)))
            await asyncio.sleep(0.1)
        assert not echo.transport.is_closing()
        await client.closed()
        assert echo.broken == "it is silent"


HOSTILE = {
    "another protocol": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "a message before its stream": PREFACE + settings() + frame(0, 0, 1, b"\0\0\0\0\1x"),
    "a second stream": PREFACE + settings() + frame(HEADERS, 5, 3, b"\x82"),
    "a bad block": PREFACE + settings() + frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"),
    "headers without end": PREFACE
    + settings()
    + frame(HEADERS, 0, 1, b"\x82")
    + frame(CONTINUATION, 0, 1, bytes(60_000)) * 2,
    "a block that swells": PREFACE
    + settings()
    + frame(HEADERS, 5, 1, b"\x40\x01a\x7f\x00" + b"x" * 127 + b"\xbe" * 9_000),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_no_client_sends_ends_the_connection_and_nothing_else(what: str) -> None:
    async with connected() as (client, echo):
        client.writer.write(HOSTILE[what])
        await client.closed()
        assert "does not speak gRPC" in echo.broken


async def test_of_a_client_that_does_not_read_nothing_more_is_read() -> None:
    async with connected() as (client, echo):
        client.begin(window=2**31 - 1)
        client.h2.increment_flow_control_window(2**31 - 1 - 65_535)
        client.flush()
        await client.until(ResponseReceived)
        message = frame(0, 0, 1, struct.pack(">BI", 0, 1_000_000) + bytes(1_000_000))
        for _ in range(60):
            client.writer.write(message)
        await asyncio.sleep(0.5)
        taken = echo.messages
        assert taken < 50
        assert not echo.transport.is_reading()
        came = 0
        async with asyncio.timeout(30):
            while came < 60 * 1_000_005:
                piece = await client.reader.read(2**20)
                assert piece, "it was ended"
                came += len(piece)
        assert echo.messages == 60


async def test_messages_wait_for_a_window_and_a_client_that_never_opens_it_is_given_up() -> None:
    async with connected(most_held=300) as (client, echo):
        client.begin(window=10)
        await client.until(ResponseReceived)
        client.send(b"four")
        client.send(b"five!")
        await client.until_body(10)
        assert len(client.body) == 10
        client.h2.increment_flow_control_window(100, 1)
        client.flush()
        await client.until_body(19)
        assert client.body[14:] == b"five!"
        for _ in range(20):
            client.send(b"much that is not taken, and more than was given room for")
        await client.closed()
        assert echo.broken == "it does not take its messages"


async def test_a_client_that_does_not_read_and_is_given_up_leaves_no_connection() -> None:
    async with connected(patience_s=0.2, silent_s=0.2) as (client, echo):
        client.begin(window=2**31 - 1)
        client.h2.increment_flow_control_window(2**31 - 1 - 65_535)
        client.flush()
        await client.until(ResponseReceived)
        echo.send((bytes(19_000_000),))
        assert echo.transport.get_write_buffer_size() > 0
        await eventually(lambda: echo.broken == "it is silent")
        await eventually(lambda: echo.transport.get_extra_info("socket").fileno() == -1)
        assert echo.transport.get_write_buffer_size() == 0


HALF = frame(0, 0, 1, struct.pack(">BI", 0, 1_000_000) + bytes(400_000))


@pytest.mark.long
async def test_a_message_that_does_not_arrive_in_time_is_given_up_and_nothing_else() -> None:
    """Even if frames come in between; one large message after another is no such message."""
    async with connected(patience_s=0.1, message_s=1.0) as (client, echo):
        client.begin(window=2**31 - 1)
        client.h2.increment_flow_control_window(2**31 - 1 - 65_535)
        client.flush()
        await client.until(ResponseReceived)
        rest = frame(0, 0, 1, bytes(600_000))
        for _ in range(20):
            client.writer.write(HALF)
            await asyncio.sleep(0.08)
            client.writer.write(rest)
        await client.until_body(20 * 1_000_005)
        assert echo.messages == 20
        assert not echo.given
        client.writer.write(HALF)
        async with asyncio.timeout(30):
            while not echo.given:
                client.writer.write(frame(PING, 0, 0, bytes(8)))
                await asyncio.sleep(0.05)
        assert echo.given == [(bytes(4096), GivenUp.TOO_SLOW)]
        client.writer.write(rest)
        client.send(b"next")
        await client.until_body(20 * 1_000_005 + 9)
        assert client.body[-4:] == b"next"
        assert (echo.messages, echo.broken, len(echo.given)) == (21, "", 1)
