"""The client end of a stream, against the server side of h2, an independent implementation of HTTP/2."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RemoteSettingsChanged, RequestReceived, StreamReset, WindowUpdated
from h2.settings import SettingCodes, Settings

from inferencehub.core.http2.client import ClientStream, Ended
from inferencehub.core.http2.stream import GIVE_BACK
from inferencehub.core.values.tensors import Buffer
from tests.hub import eventually

MOST = 100_000_000
OK_HEADERS = [(":status", "200"), ("content-type", "application/grpc"), ("said", "yes")]


class Server(asyncio.Protocol):
    """A server of one connection.

    Args:
        settings: what it announces.
        act: called for each message, with the server; by default it sends it back.
        chop: whether what it sends leaves in small pieces.
    """

    def __init__(
        self, settings: dict[SettingCodes, int], act: Callable[[Server, bytes], None], chop: bool
    ) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.act = act
        self.chop = chop
        self.transport: asyncio.Transport
        self.request: dict[str, str] = {}
        self.frames: list[int] = []
        self.reset: int | None = None
        self._body = b""
        self._unsent = b""
        self._sending: asyncio.Task[None] | None = None
        self._bytes = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                self.request = {str(name): str(value) for name, value in event.headers}
                if self.act not in (refuse, unavailable):
                    self.h2.send_headers(1, OK_HEADERS)
                else:
                    self.act(self, b"")
            elif isinstance(event, DataReceived):
                assert event.data is not None
                self.frames.append(len(event.data))
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                self._body += event.data
                while len(self._body) >= 5 and len(self._body) >= 5 + (
                    size := struct.unpack(">xI", self._body[:5])[0]
                ):
                    message, self._body = self._body[5 : 5 + size], self._body[5 + size :]
                    self.act(self, message)
            elif isinstance(event, StreamReset):
                self.reset = event.error_code
            elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
                self.send(b"")
        self.flush()

    def send(self, data: bytes, **options: Any) -> None:
        """Send bytes of the stream, as the client's windows allow."""
        self._unsent += data
        while self._unsent:
            most = min(self.h2.local_flow_control_window(1), self.h2.max_outbound_frame_size) - 2 * len(
                options
            )
            if most <= 0:
                return
            part, self._unsent = self._unsent[:most], self._unsent[most:]
            self.h2.send_data(1, part, **options)

    def reply(self, message: bytes, **options: Any) -> None:
        """Send a message."""
        self.send(struct.pack(">BI", 0, len(message)) + message, **options)

    def end(self, *trailers: tuple[str, str]) -> None:
        """End the stream."""
        self.h2.send_headers(1, trailers, end_stream=True)

    def flush(self) -> None:
        """Write what is to be said."""
        data = self.h2.data_to_send()
        if not self.chop:
            self.transport.write(data)
            return
        self._bytes += data
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._chopped())

    async def _chopped(self) -> None:
        while self._bytes:
            size = random.randint(1, 7)
            self.transport.write(self._bytes[:size])
            self._bytes = self._bytes[size:]
            await asyncio.sleep(0.001)


def echo(server: Server, message: bytes) -> None:
    """Send it back."""
    server.reply(message)


def refuse(server: Server, message: bytes) -> None:
    """End the stream before it began."""
    server.end((":status", "200"), ("grpc-status", "12"), ("grpc-message", "no such m%C3%A9thod"))


def unavailable(server: Server, message: bytes) -> None:
    """What a proxy says."""
    server.h2.send_headers(1, [(":status", "503")], end_stream=True)


class Connected:
    """A stream, its server, and what came."""

    def __init__(self, stream: ClientStream, server: Server, came: asyncio.Queue[Buffer]) -> None:
        self.stream = stream
        self.server = server
        self.came = came

    async def ask(self, *parts: bytes) -> Buffer:
        """The next message after this was sent."""
        self.stream.send(parts)
        return await asyncio.wait_for(self.came.get(), 30)

    async def ended(self) -> Ended:
        """How the stream ends."""
        return await asyncio.wait_for(asyncio.shield(self.stream.ended), 30)

    async def says(self, act: Callable[[Server], None]) -> None:
        """Make the server do something."""
        act(self.server)
        self.server.flush()


@asynccontextmanager
async def connected(
    act: Callable[[Server, bytes], None] = echo,
    settings: dict[SettingCodes, int] | None = None,
    chop: bool = False,
    most: int = MOST,
    give_back: int = GIVE_BACK,
) -> AsyncIterator[Connected]:
    """A stream to a server of its own."""
    loop = asyncio.get_running_loop()
    servers: list[Server] = []

    def made() -> Server:
        servers.append(Server(settings or {}, act, chop))
        return servers[-1]

    listening = await loop.create_server(made, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    came: asyncio.Queue[Buffer] = asyncio.Queue()
    said = (("said", "hello"),)
    one = ClientStream(f"127.0.0.1:{port}", "/a.B/C", said, came.put_nowait, most, give_back)
    await loop.create_connection(lambda: one, "127.0.0.1", port)
    try:
        await asyncio.wait((one.began, one.ended), timeout=30, return_when=asyncio.FIRST_COMPLETED)
        yield Connected(one, servers[0], came)
    finally:
        one.close()
        listening.close()


async def test_it_asks_as_grpc_does_and_messages_come_back() -> None:
    async with connected() as one:
        assert one.stream.began.result()["said"] == "yes"
        assert one.server.request == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/a.B/C",
            ":authority": one.server.request[":authority"],
            "te": "trailers",
            "content-type": "application/grpc",
            "said": "hello",
        }
        for message in (b"", b"one", bytes(range(256)) * 50):
            assert await one.ask(message[:1], message[1:]) == message
        one.stream.send((b"a",))
        one.stream.send((b"b",))
        assert [await one.came.get(), await one.came.get()] == [b"a", b"b"]


@pytest.mark.parametrize("size", [16_378, 16_379, 16_380, 65_535, 200_000, 3_000_000])
@pytest.mark.parametrize("window", [1_000, 65_535, 2**31 - 1])
@pytest.mark.parametrize("frame_size", [16_384, 2**24 - 1])
async def test_large_messages_keep_to_the_windows_and_frames_that_the_server_allows(
    size: int, window: int, frame_size: int
) -> None:
    if window == 1_000 and size > 200_000:
        size = 200_000
    limits = {SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.MAX_FRAME_SIZE: frame_size}
    large = random.Random(size).randbytes(size)
    async with connected(settings=limits) as one:
        assert await one.ask(b"small") == b"small"  # so that the settings are there
        assert await one.ask(b"head", large, b"tail") == b"head" + large + b"tail"
        assert max(one.server.frames) <= min(frame_size, max(window, 65_535))
        assert await one.ask(b"small") == b"small"


async def test_a_window_that_is_made_smaller_than_what_is_on_its_way_stops_the_client() -> None:
    async with connected() as one:
        assert await one.ask(b"x" * 3000) == b"x" * 3000
        await one.says(lambda server: server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0}))
        await asyncio.sleep(0.05)
        one.server.frames.clear()
        one.stream.send((b"y" * 70_000,))
        await asyncio.sleep(0.1)
        assert sum(one.server.frames) < 70_005
        await one.says(lambda server: server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100_000}))
        assert await asyncio.wait_for(one.came.get(), 30) == b"y" * 70_000


async def test_pieces_of_whatever_size_are_put_together() -> None:
    async with connected(chop=True) as one:
        for message in (b"", b"one", bytes(range(256))):
            assert await one.ask(message) == message


async def test_padding_is_taken_off() -> None:
    async with connected(lambda server, message: server.reply(message, pad_length=9)) as one:
        assert await one.ask(b"a message") == b"a message"


async def test_a_message_in_many_frames_and_many_in_one_frame() -> None:
    def both(server: Server, message: bytes) -> None:
        framed = struct.pack(">BI", 0, len(message)) + message
        for byte in framed:
            server.send(bytes((byte,)))
        server.send(3 * framed)

    async with connected(both) as one:
        assert await one.ask(b"abcdef") == b"abcdef"
        assert [await one.came.get() for _ in range(3)] == [b"abcdef"] * 3


async def test_headers_of_many_frames() -> None:
    async with connected() as one:
        await one.says(lambda server: server.end(("grpc-status", "0"), ("much", "x" * 40_000)))
        assert await one.ended() == Ended(0, "")


async def test_the_window_is_opened_again() -> None:
    async with connected(give_back=10_000) as one:
        first = one.server.h2.local_flow_control_window(1)
        for _ in range(20):
            assert len(await one.ask(b"x" * 4_000)) == 4_000
        assert first - 15_000 < one.server.h2.local_flow_control_window(1) <= first


async def test_pings_are_answered_and_made() -> None:
    async with connected() as one:
        heard = one.stream.heard
        await one.says(lambda server: server.h2.ping(b"12345678"))
        one.stream.ping()
        assert await one.ask(b"x") == b"x"
        assert one.stream.heard == heard + 3  # the server's ping, its answer to ours, the message


async def test_trailers_end_it_with_the_status() -> None:
    async with connected() as one:
        await one.says(lambda server: server.end(("grpc-status", "5"), ("grpc-message", "not%20here")))
        assert await one.ended() == Ended(5, "not here")
        one.stream.send((b"into the void",))


async def test_one_that_is_refused_never_begins() -> None:
    async with connected(refuse) as one:
        assert await one.ended() == Ended(12, "no such méthod")
        assert not one.stream.began.done()


async def test_one_that_is_closed_is_reset() -> None:
    async with connected() as one:
        one.stream.close()
        assert (await one.ended()).status == -1
        await eventually(lambda: one.server.reset == ErrorCodes.CANCEL)


async def test_a_server_that_drains_may_end_what_runs() -> None:
    async with connected() as one:
        goaway = struct.pack(">HBBBIII", 0, 8, 7, 0, 0, 2**31 - 1, 0)
        one.server.transport.write(goaway)
        assert await one.ask(b"still") == b"still"
        await one.says(lambda server: server.end(("grpc-status", "0")))
        assert await one.ended() == Ended(0, "")


BROKEN: dict[str, tuple[Callable[[Server], None], str]] = {
    "reset": (lambda server: server.h2.reset_stream(1, ErrorCodes.ENHANCE_YOUR_CALM), "HTTP/2 error 11"),
    "goaway": (lambda server: server.h2.close_connection(ErrorCodes.INTERNAL_ERROR), "HTTP/2 error 2"),
    "closed": (lambda server: server.transport.close(), "closed"),
    "no status": (lambda server: server.end(("x", "y")), "no status"),
    "an end without trailers": (lambda server: server.h2.end_stream(1), "without a status"),
    "compressed": (lambda server: server.send(b"\1\0\0\0\1x"), "compressed"),
    "too large": (lambda server: server.send(b"\0\xff\0\0\0"), "of 4278190080 bytes"),
    "too many headers": (
        lambda server: server.end(("grpc-status", "0"), ("x", "yz" * 35_000)),
        "65536",
    ),
    "bad block": (lambda server: server.transport.write(b"\0\0\1\1\5\0\0\0\1\xff"), "does not speak gRPC"),
    "short frame": (
        lambda server: server.transport.write(b"\0\0\1\x08\0\0\0\0\1\xff"),
        "does not speak gRPC",
    ),
    "push": (lambda server: server.transport.write(b"\0\0\4\5\4\0\0\0\1\0\0\0\2"), "push"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_whatever_breaks_it_is_said(what: str) -> None:
    act, reason = BROKEN[what]
    async with connected() as one:
        transport = one.stream._transport
        assert transport is not None
        await one.says(act)
        status, detail = await one.ended()
        assert status == -1
        assert reason in detail
        assert transport.is_closing()


async def test_a_server_of_another_kind() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(old, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    one = ClientStream("a:1", "/a.B/C", (), lambda message: None, MOST)
    await asyncio.get_running_loop().create_connection(lambda: one, "127.0.0.1", port)
    status, detail = await asyncio.wait_for(one.ended, 30)
    assert (status, detail) == (
        -1,
        "it does not speak gRPC: it begins with something else than HTTP/2's settings",
    )
    server.close()


async def test_an_http_error_is_no_beginning() -> None:
    async with connected(unavailable) as one:
        status, detail = await one.ended()
        assert (status, detail) == (-1, "it does not speak gRPC: it answers with HTTP status 503")
        assert not one.stream.began.done()
