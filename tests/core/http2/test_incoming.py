"""Frames and messages that arrive in any pieces: several frames, padding, and reads of any size."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.http2 import incoming
from inferencehub.core.http2.frames import (
    DATA,
    END_STREAM,
    PADDED,
    PING,
    PREFACE,
    PREFIX,
    STREAM,
    Broken,
    frame,
    settings,
)
from inferencehub.core.http2.incoming import BUFFER, Incoming

MOST = 1_000_000


@dataclass
class Reader:
    """What comes out."""

    preface: bytes = b""
    messages: list[bytes] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    ends: int = 0

    def __post_init__(self) -> None:
        self.incoming = Incoming(self.preface, MOST)
        self.incoming.begun = True

    def control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.frames.append((kind, payload))

    def message(self, data: bytes | bytearray | memoryview) -> None:
        self.messages.append(bytes(data))

    def half_closed(self) -> None:
        self.ends += 1

    def read(self, data: bytes) -> None:
        """Read all, as much at a time as there is place for."""
        while data:
            place = self.incoming.place()
            assert len(place)
            size = min(len(place), len(data))
            place[:size] = data[:size]
            data = data[size:]
            self.incoming.read(size, self)


def message(data: bytes) -> bytes:
    """A message of gRPC."""
    return PREFIX.pack(0, len(data)) + data


def padded(data: bytes, padding: int, last: bool = False) -> bytes:
    """DATA with padding."""
    return frame(DATA, PADDED | last, STREAM, bytes((padding,)) + data + bytes(padding))


sizes = st.integers(0, 40) | st.sampled_from([1_000, BUFFER - 20, BUFFER, 200_000])


@given(st.data())
def test_however_it_is_cut(data: st.DataObject) -> None:
    expected = [bytes([n % 256]) * data.draw(sizes) for n in range(data.draw(st.integers(0, 6)))]
    stream = b"".join(map(message, expected))
    frames = [settings((1, 2))]
    pings = 0
    while stream:
        size = data.draw(st.integers(1, 20) | st.integers(1, len(stream)))
        part, stream = stream[:size], stream[size:]
        how = data.draw(st.sampled_from(["whole", "whole", "padded", "ping", "empty"]))
        frames.append(
            padded(part, data.draw(st.integers(0, 255))) if how == "padded" else frame(DATA, 0, STREAM, part)
        )
        if how == "ping":
            frames.append(frame(PING, 0, 0, b"12345678"))
            pings += 1
        elif how == "empty":
            frames.append(frame(DATA, 0, STREAM))
    frames.append(data.draw(st.sampled_from([frame(DATA, END_STREAM, STREAM), padded(b"", 3, last=True)])))
    preface = data.draw(st.sampled_from([b"", PREFACE]))
    whole = preface + b"".join(frames)
    reader = Reader(preface)
    while whole:
        size = data.draw(st.integers(1, 30) | st.integers(1, len(whole)))
        reader.read(whole[:size])
        whole = whole[size:]
    assert reader.messages == expected
    assert [kind for kind, _ in reader.frames[1:]] == [PING] * pings
    assert reader.ends == 1
    assert reader.incoming.heard >= len(frames)
    assert reader.incoming.taken == sum(len(one) - 9 for one in frames if one[3] == DATA)


def test_a_large_message_is_read_into_its_place() -> None:
    reader = Reader()
    data = bytes(range(256)) * 1_000
    whole = settings() + frame(DATA, 0, STREAM, message(data))
    reader.read(whole[:100])
    place = reader.incoming.place()
    assert len(place) == len(whole) - 100
    place[:] = whole[100:]
    reader.incoming.read(len(place), reader)
    assert reader.messages == [data]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "preface"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\r\r\n", "preface"),
        (PREFACE + frame(PING, 0, 0, bytes(8)), "settings"),
        (PREFACE + settings() + frame(DATA, 0, 3, b"x"), "DATA of a stream"),
        (PREFACE + settings() + frame(DATA, PADDED, STREAM, b"\x05abc"), "more padding than DATA"),
        (PREFACE + settings() + frame(DATA, 0, STREAM, b"\1\0\0\0\1"), "compressed"),
        (PREFACE + settings() + frame(DATA, 0, STREAM, PREFIX.pack(0, MOST + 1)), "of 1000001 bytes"),
        (PREFACE + settings() + frame(PING, 0, 0, bytes(BUFFER))[:100], "at most"),
    ],
)
def test_what_is_not_as_it_should_be(data: bytes, why: str) -> None:
    with pytest.raises(Broken, match=why):
        Reader(PREFACE).read(data)


def test_a_frame_that_fills_the_buffer() -> None:
    reader = Reader()
    size = incoming.BUFFER - 9
    reader.read(settings() + frame(PING, 0, 0, bytes(size)) + frame(DATA, 0, STREAM, message(b"x")))
    assert (len(reader.frames[1][1]), reader.messages) == (size, [b"x"])


def test_a_large_message_is_heard_while_it_comes() -> None:
    reader = Reader()
    reader.read(settings())
    whole = frame(DATA, 0, STREAM, PREFIX.pack(0, 900_000) + bytes(900_000))
    reader.read(whole[:100_000])
    heard = reader.incoming.heard
    reader.read(whole[100_000:200_000])
    assert reader.incoming.heard > heard
