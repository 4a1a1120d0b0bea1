"""What a job of gRPC keeps of its request: the id of its call, and the serialized message, which has its time limit."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from inferencehub.core.values.tensors import Buffer
from inferencehub.pb import open_inference_pb2 as pb

# The first byte of what is kept. HTTP keeps its requests as arrays of msgpack, which begin with 90 to 9f, dc or dd. It is
# not c1, which msgpack never uses: a store may mark with that byte what it has compressed.
MARK = b"g"
# A trace stands before the message, as its field 1000, which is unknown: whoever does not know of it, such as a gateway of the
# version before in a roll-out, leaves it out when it parses the message.
TRACED = b"\xc2\x3e"  # the tag: 1000 << 3 | 2 as a varint; the length follows
MOST_TRACE = 1023  # bytes; more than `Trace.kept` has
LARGE = 2**20  # packing more bytes takes some ms, so a thread does it


def packed(
    id: str, data: bytes, message: pb.ModelInferRequest, raw: Sequence[Buffer], trace: str = ""
) -> tuple[bytes, str]:
    """A request as it is kept, and the digest of what one idempotency key stands for.

    The digest is not of the bytes that came: libraries write the maps of a message in any order, another one each time.

    Args:
        id: of the call, at most 128 characters of ASCII.
        data: a serialized ModelInferRequest.
        message: the same.
        raw: the raw contents of its inputs, whether or not the message has them too.
        trace: that of the call, see `Trace.kept`, at most `MOST_TRACE` characters of ASCII; "" without one.
    """
    digest = sha256(MARK)
    for one in raw:
        digest.update(b"%d " % len(one))
        digest.update(one)
    head = pb.ModelInferRequest()
    head.CopyFrom(message)
    head.ClearField("raw_input_contents")
    digest.update(head.SerializeToString(deterministic=True))
    told = b""
    if trace:
        size = len(trace)
        told = TRACED + bytes((size & 127 | 128, size >> 7)) + trace.encode()
    return b"".join((MARK, bytes((len(id),)), id.encode(), told, data)), digest.hexdigest()


def unpacked(kept: bytes) -> tuple[str, bytes, str]:
    """The id of a call, its serialized message, and its trace: any text, for a caller may send such a field too."""
    at = 2 + kept[1]
    id, trace = kept[2:at].decode(), ""
    if kept.startswith(TRACED, at):
        begin = at + len(TRACED) + 2
        low, high = kept[begin - 2 : begin].ljust(2, b"\0")
        end = begin + (low & 127 | high << 7)
        if low > 127 >= high and end - begin <= MOST_TRACE and end <= len(kept):
            at, trace = end, kept[begin:end].decode("ascii", "replace")
    return id, kept[at:], trace
