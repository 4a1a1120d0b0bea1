"""Frames that break a rule of HTTP/2 end the connection: the cases of h2spec, as raw bytes over a real socket.

`h2spec -p <stream port> --path /inference.GRPCInferenceService/ModelStreamInfer` reports 9 of its 145 cases as failed.
In none of them a wrong frame is accepted:

- A connection has one stream. So a stream that is reset or ends takes its connection along, and h2spec finds a GOAWAY
  or a closed connection where a server with several streams would go on (5 cases).
- 2 cases send a frame that is larger than our largest frame by one byte, 2^24: a length that 24 bits cannot hold, so that
  an empty frame arrives.
- A window that overflows ends the connection without a GOAWAY frame that says why (2 cases).
"""

from __future__ import annotations

import asyncio
from struct import pack

import pytest
from h2.events import PingAckReceived, ResponseReceived, TrailersReceived
from hpack import Encoder

from inferencehub.core.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FRAME,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    settings,
)
from inferencehub.core.http2.incoming import OF_EMPTY_DATA, SPARE, TURN
from tests.core.http2.test_server import REQUEST, connected, echoing
from tests.hub import eventually

START = PREFACE + settings()


def headers(fields: list[tuple[str, str]], flags: int = END_HEADERS) -> bytes:
    """A HEADERS frame of stream 1."""
    return frame(HEADERS, flags, 1, Encoder().encode(fields))


def without(name: str) -> list[tuple[str, str]]:
    """The request without a field."""
    return [field for field in REQUEST if field[0] != name]


BEGIN = START + headers(REQUEST)
ENDED = START + headers(REQUEST, END_HEADERS | END_STREAM)
OPEN_BLOCK = START + headers(REQUEST, 0)

WRONG = {
    "a window update of a stream that was not begun": START + frame(WINDOW_UPDATE, 0, 1, pack(">I", 100)),
    "a window update of another stream": BEGIN + frame(WINDOW_UPDATE, 0, 3, pack(">I", 100)),
    "a window update of 0": BEGIN + frame(WINDOW_UPDATE, 0, 0, pack(">I", 0)),
    "a window update of 0 for the stream": BEGIN + frame(WINDOW_UPDATE, 0, 1, pack(">I", 0)),
    "a window update of 3 bytes": BEGIN + frame(WINDOW_UPDATE, 0, 0, b"abc"),
    "a window that overflows": BEGIN + frame(WINDOW_UPDATE, 0, 0, pack(">I", 2**31 - 1)),
    "a stream's window that overflows": BEGIN + frame(WINDOW_UPDATE, 0, 1, pack(">I", 2**31 - 1)),
    "a window that settings overflow": BEGIN
    + frame(WINDOW_UPDATE, 0, 1, pack(">I", 2**31 - 1 - 65_535))
    + settings((4, 65_536)),
    "settings of a stream": BEGIN + frame(SETTINGS, 0, 1, pack(">HI", 3, 100)),
    "an acknowledgement with content": BEGIN + frame(SETTINGS, ACK, 0, pack(">HI", 3, 100)),
    "settings of 5 bytes": BEGIN + frame(SETTINGS, 0, 0, b"abcde"),
    "push that is 2": BEGIN + settings((2, 2)),
    "a window above the largest": BEGIN + settings((4, 2**31)),
    "a frame limit below the smallest": BEGIN + settings((5, 2**14 - 1)),
    "a frame limit above the largest": BEGIN + settings((5, 2**24)),
    "thousands of settings": BEGIN + frame(SETTINGS, 0, 0, pack(">HI", 99, 1) * 10_000),
    "a ping of a stream": BEGIN + frame(PING, 0, 1, bytes(8)),
    "a ping of 6 bytes": BEGIN + frame(PING, 0, 0, bytes(6)),
    "a goaway of a stream": BEGIN + frame(GOAWAY, 0, 1, bytes(8)),
    "a short goaway": BEGIN + frame(GOAWAY, 0, 0, bytes(7)),
    "a reset of stream 0": BEGIN + frame(RST_STREAM, 0, 0, bytes(4)),
    "a reset before the beginning": START + frame(RST_STREAM, 0, 1, bytes(4)),
    "a reset of 3 bytes": BEGIN + frame(RST_STREAM, 0, 1, bytes(3)),
    "a priority of stream 0": BEGIN + frame(PRIORITY_FRAME, 0, 0, bytes(5)),
    "a priority of 4 bytes": BEGIN + frame(PRIORITY_FRAME, 0, 1, bytes(4)),
    "a priority of itself": BEGIN + frame(PRIORITY_FRAME, 0, 1, pack(">IB", 1, 0)),
    "headers that depend on their own stream": START
    + frame(HEADERS, END_HEADERS | PRIORITY, 1, pack(">IB", 1, 0) + Encoder().encode(REQUEST)),
    "a push": BEGIN + frame(PUSH_PROMISE, END_HEADERS, 1, pack(">I", 2)),
    "headers of stream 0": START + frame(HEADERS, END_HEADERS, 0, Encoder().encode(REQUEST)),
    "more padding than headers": START + frame(HEADERS, END_HEADERS | PADDED, 1, b"\xffabc"),
    "padding without its length": START + frame(HEADERS, END_HEADERS | PADDED, 1),
    "a priority inside a block": OPEN_BLOCK + frame(PRIORITY_FRAME, 0, 1, bytes(5)),
    "data inside a block": OPEN_BLOCK + frame(DATA, 0, 1, b"x"),
    "headers inside a block": OPEN_BLOCK + headers(REQUEST),
    "an unknown frame inside a block": OPEN_BLOCK + frame(22, 0, 1, b"x"),
    "a continuation of another stream": OPEN_BLOCK + frame(CONTINUATION, END_HEADERS, 3),
    "a continuation of stream 0": OPEN_BLOCK + frame(CONTINUATION, END_HEADERS, 0),
    "a continuation of nothing": START + frame(CONTINUATION, END_HEADERS, 1, Encoder().encode(REQUEST)),
    "a continuation after the block": BEGIN + frame(CONTINUATION, END_HEADERS, 1, b"\x88"),
    "headers after the end": ENDED + headers(REQUEST),
    "data after the end": ENDED + frame(DATA, 0, 1, b"\0\0\0\0\1x"),
    "data after its end": BEGIN + frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1, b"\0\0\0\0\1x"),
    "an end inside a message": BEGIN + frame(DATA, END_STREAM, 1, b"\0\0\0\0\2x"),
    "an end inside a prefix": BEGIN + frame(DATA, END_STREAM, 1, b"\0\0"),
    "headers in the middle": BEGIN + headers([("a", "b")]),
    "trailers with a pseudo-header": BEGIN + headers([(":path", "/")], END_HEADERS | END_STREAM),
    "a name in capitals": START + headers([*REQUEST, ("X-Test", "ok")]),
    "an unknown pseudo-header": START + headers([(":test", "ok"), *REQUEST]),
    "a status in a request": START + headers([(":status", "200"), *REQUEST]),
    "a pseudo-header after others": START + headers([*REQUEST, (":authority", "a")]),
    "a header of HTTP/1": START + headers([*REQUEST, ("connection", "keep-alive")]),
    "te that is not trailers": START + headers([*without("te"), ("te", "gzip")]),
    "an empty path": START + headers([(":path", ""), *without(":path")]),
    "no method": START + headers(without(":method")),
    "no scheme": START + headers(without(":scheme")),
    "no path": START + headers(without(":path")),
    "a path twice": START + headers([(":path", "/a.B/C"), *REQUEST]),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_frame_that_breaks_a_rule_ends_the_connection(what: str) -> None:
    async with connected() as (client, echo):
        client.writer.write(WRONG[what])
        await client.closed()
        assert "does not speak gRPC" in echo.broken


async def test_frames_that_are_allowed_are_taken() -> None:
    """Unknown types and settings, priorities, a padded block in pieces, the reserved bit, trailers."""
    block = Encoder().encode(REQUEST)
    async with connected() as (client, echo):
        client.h2.initiate_connection()
        client.h2.send_headers(1, REQUEST, end_stream=True)
        client.h2.data_to_send()  # replaced by what follows
        client.writer.write(
            PREFACE
            + settings((99, 2**32 - 1))
            + frame(22, 7, 5, b"unknown")
            + frame(PRIORITY_FRAME, 0, 1, pack(">IB", 3, 9))
            + frame(HEADERS, PADDED | PRIORITY, 1, b"\2" + pack(">IB", 3, 9) + block[:5] + b"\0\0")
            + frame(CONTINUATION, END_HEADERS, 1, block[5:])
            + frame(PING, 0, 2**31, b"reserved")
            + frame(DATA, 0, 1, b"\0\0\0\0\1x")
            + headers([("a", "b")], END_HEADERS | END_STREAM)
        )
        assert dict((await client.until(TrailersReceived)).headers)["grpc-status"] == "0"
        assert echo.messages == 1


FLOODS = {
    "pings": frame(PING, 0, 0, bytes(8)),
    "answers to pings": frame(PING, ACK, 0, bytes(8)),
    "settings": settings((3, 1)),
    "window updates": frame(WINDOW_UPDATE, 0, 0, pack(">I", 1)),
    "priorities": frame(PRIORITY_FRAME, 0, 1, bytes(5)),
    "unknown frames": frame(22, 0, 0, b"x"),
    "empty data": frame(DATA, 0, 1) * round(1 / OF_EMPTY_DATA),
    "padding": frame(DATA, PADDED, 1, b"\5" + bytes(5)),
    "goodbyes": frame(GOAWAY, 0, 0, pack(">II", 2**31 - 1, 0)),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_of_frames_without_data_ends_the_connection(what: str) -> None:
    async with connected() as (client, echo):
        client.writer.write(BEGIN + 3 * SPARE * FLOODS[what])
        await client.closed()
        assert f"more than {SPARE} frames without data in a second" in echo.broken


async def test_a_flood_of_continuations_ends_the_connection() -> None:
    async with connected() as (client, echo):
        client.writer.write(OPEN_BLOCK + 3 * SPARE * frame(CONTINUATION, 0, 1))
        await client.closed()
        assert "frames without data" in echo.broken


@pytest.mark.parametrize("apart", [True, False])
async def test_a_connection_gets_a_bounded_share_of_a_pass(apart: bool) -> None:
    """Between two turns of a connection that sends much, others have theirs."""
    many = 20 * TURN
    message = b"\0\0\0\0\1x"
    data = frame(DATA, 0, 1, message) * many if apart else frame(DATA, 0, 1, message * many)
    most = 0
    async with echoing() as (port, echoes):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(BEGIN + data + frame(DATA, END_STREAM, 1))
        before = 0
        async with asyncio.timeout(30):
            while not echoes or echoes[0].messages < many:
                await asyncio.sleep(0)  # the next pass
                now = echoes[0].messages if echoes else 0
                most, before = max(most, now - before), now
        assert 0 < most <= 2 * TURN  # a turn that was left over, and a new one
        await eventually(lambda: echoes[0]._finished)
        writer.close()


async def test_pings_at_the_usual_rate_go_on() -> None:
    async with connected() as (client, _):
        client.begin()
        await client.until(ResponseReceived)
        for n in range(SPARE // 4):
            client.h2.ping(pack(">Q", n))
            client.flush()
            assert (await client.until(PingAckReceived)).ping_data == pack(">Q", n)
