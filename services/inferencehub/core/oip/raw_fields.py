"""Large requests as they come off the wire: the raw tensors are looked at where they lie, and not copied.

Protobuf would copy each twice, into its message and out of it. So the outermost fields of a large message are walked
here, the raw contents are left out, and protobuf gets the small rest. What the walk does not know, and whatever is
wrong with the bytes, is left to protobuf, so that it alone decides what is a message.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.tensors import Buffer
from inferencehub.pb import open_inference_pb2 as pb

MOST_FIELDS = 500  # more are not walked, for the walk is slow
RAW = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2
RAW_INPUT = bytes((RAW,))  # tag of bytes
PADDING = bytes((15 << 3 | 2,))
# Bytes from which on a message is not copied to be read, and it matters how a tensor lies in it.
LARGE_REQUEST = 2**15
VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5


def written(
    head: pb.ModelInferRequest, raw: Sequence[Sequence[Buffer]], aligned: bool = False
) -> list[Buffer]:
    """A request written out in parts, without a copy of its large raw contents, which `head` lacks.

    Protobuf takes fields in any order ("Encoding", "Field Order"), so that these may come last.

    Args:
        head: the request but for its raw contents.
        raw: these, each in parts.
        aligned: whether large ones begin at a multiple of 8 bytes, so that numbers can be read where they lie. What is
            left free in front of them is a field that the protocol does not have.
    """
    parts: list[Buffer] = [head.SerializeToString()]
    at = len(parts[0])
    for data in raw:
        size = sum(map(len, data))
        mark = RAW_INPUT + varint(size)
        if size < LARGE_REQUEST:
            parts.append(b"".join([mark, *data]))
        else:
            if aligned:
                mark = padding(at + len(mark)) + mark
            parts += (mark, *data)
        at += len(mark) + size
    return parts


def padding(at: int) -> bytes:
    """A field of no meaning that ends at a multiple of 8 bytes from an offset that is none; b"" where it is one."""
    free = -at % 8
    if not free:
        return b""
    size = free - 2 if free > 1 else free + 6
    return PADDING + bytes((size,)) + bytes(size)


def varint(number: int) -> bytes:
    """A whole number from 0 as protobuf writes it: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def read_request(data: Buffer) -> tuple[pb.ModelInferRequest, Sequence[Buffer]]:
    """A request and its raw contents, which are in the message too where that is small.

    Raises:
        HubError: BAD_INPUT where the bytes are no such message.
    """
    parts = cut(data) if len(data) >= LARGE_REQUEST else None
    try:
        if parts is not None:
            return pb.ModelInferRequest.FromString(parts[0]), parts[1]
        message = pb.ModelInferRequest.FromString(data)  # type: ignore[arg-type]  # any buffer will do
    except DecodeError:
        raise bad_input("the bytes that came are not a ModelInferRequest") from None
    return message, message.raw_input_contents


def cut(data: Buffer) -> tuple[bytes, list[memoryview]] | None:
    """The message without its raw contents, and these as views of it; None where that is left to protobuf."""
    view, end = memoryview(data), len(data)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    kept = at = 0  # the end of what is in `rest` or `raw`, and of what was walked
    try:
        for _ in range(MOST_FIELDS):
            if at == end:
                rest.append(view[kept:])
                return b"".join(rest), raw
            field = at
            tag, at = read_varint(data, at)
            kind = tag & 7
            if kind == SIZED:
                size, at = read_varint(data, at)
                if data[field] == RAW:  # in one byte, as everybody writes it
                    rest.append(view[kept:field])
                    raw.append(view[at : at + size])
                    kept = at + size
                at += size
            elif kind == VARINT:
                _, at = read_varint(data, at)
            elif kind in (FIXED32, FIXED64):
                at += 4 if kind == FIXED32 else 8
            else:
                return None
            if at > end or (tag >> 3 == RAW >> 3 and data[field] != RAW):
                return None
    except IndexError:
        pass
    return None


def read_varint(data: Buffer, at: int) -> tuple[int, int]:
    """The number at an offset, and the offset behind it; IndexError where there is none of five bytes at most."""
    value = 0
    for shift in (0, 7, 14, 21, 28):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError
