"""Reads and writes large requests without copying their raw tensors, and writes large answers with one copy.

Protobuf would copy each tensor twice: into its message and out of it. So this file walks over the outermost fields of a
large serialized message, cuts out the raw contents as views, and gives the small rest to protobuf. If the walk finds
something that it does not know, or invalid bytes, protobuf gets the whole message. So protobuf alone decides what is a
valid message.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.tensors import Buffer
from inferencehub.pb import open_inference_pb2 as pb

MOST_FIELDS = 500  # a message with more fields goes to protobuf, because this walk is slow
RAW = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2
RAW_INPUT = bytes((RAW,))  # the tag of one raw tensor
RAW_OUTPUT = bytes((pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | 2,))
INFER_RESPONSE = bytes((pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER << 3 | 2,))
PADDING = bytes((15 << 3 | 2,))
# A message of at least this many bytes is read without a copy, so the alignment of its tensors matters.
LARGE_REQUEST = 2**15
LARGE_ANSWER = 2**15  # bytes from which on an answer is written by `written_answer`
VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5


def written(
    head: pb.ModelInferRequest, raw: Sequence[Sequence[Buffer]], aligned: bool = False
) -> list[Buffer]:
    """A serialized request in parts, without a copy of its large raw contents.

    The raw contents come after all other fields. Protobuf accepts fields in any order ("Encoding", "Field Order").

    Args:
        head: the request without its raw contents.
        raw: the raw contents of each input; each of them may consist of several parts.
        aligned: whether large contents begin at a multiple of 8 bytes, so that their numbers can be read in place. The
            gap before them is filled with a field number that the protocol does not use.
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


def written_answer(head: pb.ModelInferResponse, raw: Sequence[Buffer], streamed: bool = False) -> bytes:
    """A serialized answer, with one copy of its raw contents; protobuf would make three.

    Args:
        head: the answer without its raw contents.
        raw: the raw contents of each output.
        streamed: whether the answer is the `infer_response` of a ModelStreamInferResponse.
    """
    parts: list[Buffer] = [head.SerializeToString()]
    for data in raw:
        parts += (RAW_OUTPUT, varint(len(data)), data)
    if streamed:
        parts = [INFER_RESPONSE, varint(sum(map(len, parts))), *parts]
    return b"".join(parts)


def padding(at: int) -> bytes:
    """A field without meaning that begins at offset `at` and ends at a multiple of 8 bytes; b"" if `at` is one."""
    free = -at % 8
    if not free:
        return b""
    size = free - 2 if free > 1 else free + 6
    return PADDING + bytes((size,)) + bytes(size)


def varint(number: int) -> bytes:
    """A whole number from 0 in protobuf's encoding: seven bits in each byte, the lowest bits first."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def read_request(data: Buffer) -> tuple[pb.ModelInferRequest, Sequence[Buffer]]:
    """Read a serialized request.

    Returns:
        The message, and the raw contents of its inputs. The message itself contains them only if it is small.

    Raises:
        HubError: BAD_INPUT if the bytes are not a ModelInferRequest.
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
    """The serialized message without its raw contents, and views of these; None if protobuf has to read it all."""
    view, end = memoryview(data), len(data)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    kept = at = 0  # end of the bytes that are in `rest` or `raw`; end of the bytes that were walked
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
                if data[field] == RAW:  # the tag in one byte, as every library writes it
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


def id_of(head: bytes) -> str:
    """The id of a serialized ModelInferRequest of which only the first bytes are there; "" if they do not have it."""
    at = 0
    try:
        while True:
            tag, at = read_varint(head, at)
            if tag & 7 != SIZED:
                return ""
            size, at = read_varint(head, at)
            if tag >> 3 == pb.ModelInferRequest.ID_FIELD_NUMBER:
                whole = at + size <= len(head)
                return head[at : at + size].decode(errors="replace") if whole else ""
            at += size
    except IndexError:
        return ""


def read_varint(data: Buffer, at: int) -> tuple[int, int]:
    """The number at offset `at`, and the offset after it.

    Raises:
        IndexError: if there is no number of at most five bytes.
    """
    value = 0
    for shift in (0, 7, 14, 21, 28):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError
