"""The HTTP/2 frames that one gRPC stream needs. Names and numbers are those of RFC 9113."""

from __future__ import annotations

from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY_FRAME, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 2, 3, 4, 5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 2, 3, 4, 5  # settings
NO_ERROR, CANCEL = 0, 8
STREAM = 1
FRAME = Struct(">HBBBI")  # 24 bits of length, type, flags, stream
FRAME_BYTES = FRAME.size
PREFIX = Struct(">BI")  # before each gRPC message: whether it is compressed, and its length
PREFIX_BYTES = PREFIX.size
SETTING = Struct(">HI")
NUMBER, TWO_NUMBERS = Struct(">I"), Struct(">II")
WINDOW = 2**31 - 1  # the largest window that HTTP/2 allows
FIRST_WINDOW = 65_535  # the window before any settings were exchanged
FRAME_LIMIT, FIRST_FRAME_LIMIT = 2**24 - 1, 2**14


class Broken(Exception):
    """The peer does not follow the protocol."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A complete frame of type `kind`."""
    return FRAME.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame with these pairs of identifier and value."""
    return frame(SETTINGS, 0, 0, b"".join([SETTING.pack(*pair) for pair in pairs]))
