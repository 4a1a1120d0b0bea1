"""Frames and messages that arrive in any pieces: several frames, padding, and reads of any size."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from inferencehub.core.http2 import incoming
from inferencehub.core.http2.frames import (
    DATA,
    END_STREAM,
    FIRST_WINDOW,
    FRAME_LIMIT,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NUMBER,
    PADDED,
    PING,
    PREFACE,
    PREFIX,
    SETTING,
    STREAM,
    WINDOW,
    Broken,
    frame,
    settings,
)
from inferencehub.core.http2.half_message import HEAD, GivenUp
from inferencehub.core.http2.incoming import BUFFER, SPARE, TURN, Incoming
from inferencehub.core.http2.outgoing import JOIN_BELOW, Outgoing
from inferencehub.core.lane.byte_budget import ByteBudget
from tests.long_runs import examples

MOST = 1_000_000


@dataclass
class Reader:
    """What comes out."""

    preface: bytes = b""
    messages: list[bytes] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    ends: int = 0
    turn: int = TURN
    budget: ByteBudget | None = None
    refused: list[tuple[bytes, GivenUp]] = field(default_factory=list)
    oversizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.incoming = Incoming(self.preface, MOST, self.budget)
        self.incoming.begun = True

    def control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.frames.append((kind, payload))

    def message(self, data: bytes | bytearray | memoryview) -> None:
        self.messages.append(bytes(data))

    def given_up(self, head: bytes, why: GivenUp) -> None:
        self.refused.append((head, why))

    def oversized(self, size: int) -> None:
        self.oversizes.append(size)

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
            self.incoming.spare = 1000
            self.take(size)

    def take(self, size: int) -> None:
        """Read in as many turns as it needs."""
        self.incoming.turn = self.turn
        self.incoming.read(size, self)
        while self.incoming.behind:
            self.take(0)


def message(data: bytes) -> bytes:
    """A message of gRPC."""
    return PREFIX.pack(0, len(data)) + data


def padded(data: bytes, padding: int, last: bool = False) -> bytes:
    """DATA with padding."""
    return frame(DATA, PADDED | last, STREAM, bytes((padding,)) + data + bytes(padding))


sizes = st.integers(0, 40) | st.sampled_from([1_000, BUFFER - 20, BUFFER, 200_000])


@settings_of(**examples(300), deadline=None)
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
    reader = Reader(preface, turn=data.draw(st.integers(1, 5) | st.just(TURN)))
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
    reader.take(len(place))
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


def test_a_message_that_the_budget_has_no_room_for_is_skipped_and_told() -> None:
    budget = ByteBudget(150_000)
    reader = Reader(budget=budget)
    large, small = bytes(range(256)) * 1_000, b"small"
    reader.read(settings() + frame(DATA, 0, STREAM, message(large))[:100_000])
    assert 90_000 < budget.held <= 100_000
    rest = frame(DATA, 0, STREAM, message(large))[100_000:]
    reader.read(rest[:80_000])
    reader.read(rest[80_000:] + frame(DATA, 0, STREAM, message(small)))
    assert (reader.messages, budget.held) == ([small], 0)
    assert reader.refused == [(large[:HEAD], GivenUp.NO_ROOM)]
    reader.read(frame(DATA, 0, STREAM, message(small * 20_000)))
    assert reader.messages == [small, small * 20_000]


@pytest.mark.parametrize("came", [10, HEAD + 10])
def test_a_message_that_is_given_up_is_told_once_its_head_is_there(came: int) -> None:
    budget = ByteBudget(150_000)
    reader = Reader(budget=budget)
    large = bytes(range(256)) * 500
    data = frame(DATA, 0, STREAM, message(large))
    reader.read(settings() + data[: 14 + came])
    assert budget.held == came
    reader.incoming.give_up(GivenUp.TOO_SLOW, reader)
    assert budget.held == 0
    assert reader.refused == [(large[:HEAD], GivenUp.TOO_SLOW)] * (came > HEAD)
    reader.incoming.give_up(GivenUp.NO_ROOM, reader)
    reader.read(data[14 + came : 100_000])
    assert reader.refused == [(large[:HEAD], GivenUp.TOO_SLOW)]
    reader.read(data[100_000:] + frame(DATA, 0, STREAM, message(b"small")))
    assert (reader.messages, len(reader.refused), budget.held) == ([b"small"], 1, 0)


def test_a_message_that_makes_room_for_itself_is_given_up() -> None:
    budget = ByteBudget(150_000)
    reader = Reader(budget=budget)
    budget.relieve = lambda fits: reader.incoming.give_up(GivenUp.NO_ROOM, reader)
    large = bytes(200_000)
    data = settings() + frame(DATA, 0, STREAM, message(large) + message(b"small"))
    for at in range(0, len(data), 40_000):
        reader.read(data[at : at + 40_000])
    assert reader.refused == [(large[:HEAD], GivenUp.NO_ROOM)]
    assert (reader.messages, budget.held) == ([b"small"], 0)


def test_a_message_beyond_the_limit_is_skipped_and_told() -> None:
    reader = Reader()
    large = bytes(range(250)) * 4_001
    reader.read(settings() + frame(DATA, 0, STREAM, message(b"1") + message(large) + message(b"2")))
    assert (reader.messages, reader.refused) == ([b"1", b"2"], [(large[:HEAD], GivenUp.TOO_LARGE)])
    assert reader.oversizes == [len(large)]


def test_what_is_dropped_is_given_back() -> None:
    budget = ByteBudget(150_000)
    reader = Reader(budget=budget)
    reader.read(settings() + frame(DATA, 0, STREAM, message(bytes(140_000)))[:100_000])
    assert budget.held > 0
    reader.incoming.drop()
    assert budget.held == 0


def test_a_large_message_is_heard_while_it_comes() -> None:
    reader = Reader()
    reader.read(settings())
    whole = frame(DATA, 0, STREAM, PREFIX.pack(0, 900_000) + bytes(900_000))
    reader.read(whole[:100_000])
    heard = reader.incoming.heard
    reader.read(whole[100_000:200_000])
    assert reader.incoming.heard > heard


def test_a_batch_of_large_rows_is_sent_without_empty_frames() -> None:
    outgoing = Outgoing()
    outgoing.set(SETTING.pack(INITIAL_WINDOW_SIZE, WINDOW) + SETTING.pack(MAX_FRAME_SIZE, FRAME_LIMIT))
    outgoing.open(0, NUMBER.pack(WINDOW - FIRST_WINDOW))
    rows = [bytes([n]) * JOIN_BELOW for n in range(16)]
    written = b"".join(outgoing.send([b"head", b"mark", *rows, b"mark", *rows]))
    reader = Reader()
    reader.read(settings() + written)
    assert reader.messages == [b"headmark" + b"".join(rows) + b"mark" + b"".join(rows)]
    at, sizes = 0, []
    while at < len(written):
        sizes.append(int.from_bytes(written[at : at + 3]))
        at += 9 + sizes[-1]
    assert 0 not in sizes


def test_empty_data_between_the_rows_of_250_batches_is_accepted() -> None:
    """Older gateways send it; during a rollout they are still there."""
    reader = Reader()
    reader.read(settings())
    reader.incoming.spare = SPARE
    for _ in range(250):
        whole = message(b"x" * 31)
        frames = [frame(DATA, 0, STREAM, whole[:5])]
        for byte in whole[5:]:
            frames += [frame(DATA, 0, STREAM), frame(DATA, 0, STREAM, bytes((byte,)))]
        data = b"".join(frames)
        place = reader.incoming.place()
        place[: len(data)] = data
        reader.take(len(data))
    assert len(reader.messages) == 250
