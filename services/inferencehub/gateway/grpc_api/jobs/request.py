"""What a job of gRPC keeps of its request: the id of its call, and the serialized message, which has its time limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from inferencehub.core.values.tensors import Buffer
from inferencehub.pb import open_inference_pb2 as pb

# The first byte of what is kept. HTTP keeps its requests as arrays of msgpack, which begin with 90 to 9f, dc or dd. It is
# not c1, which msgpack never uses: a store may mark with that byte what it has compressed.
MARK = b"g"
# A trace, and a header that decides the version, stand before the message, as its fields 1000 and 1001, which are unknown:
# whoever does not know of one, such as a gateway of the version before in a roll-out, leaves it out when it parses the message.
TRACED = b"\xc2\x3e"  # the tag: 1000 << 3 | 2 as a varint; the length follows
MOST_TRACE = 1023  # bytes; more than `Trace.kept` has
STICKY = b"\xca\x3e"  # NAME:VALUE
MOST_STICKY = 2**14 - 1  # bytes; gRPC takes no more metadata
LARGE = 2**20  # packing more bytes takes some ms, so a thread does it


def packed(
    id: str,
    data: bytes,
    message: pb.ModelInferRequest,
    raw: Sequence[Buffer],
    trace: str,
    sticky: Mapping[bytes, bytes],
) -> tuple[bytes, str]:
    """A request as it is kept, and the digest of what one idempotency key stands for.

    The digest is not of the bytes that came: libraries write the maps of a message in any order, another one each time.

    Args:
        id: of the call, at most 128 characters of ASCII.
        data: a serialized ModelInferRequest.
        message: the same.
        raw: the raw contents of its inputs, whether or not the message has them too.
        trace: that of the call, see `Trace.kept`, at most `MOST_TRACE` characters of ASCII; "" without one.
        sticky: of that call, see `Exchange`. It is no part of the digest: whether there is one depends on the file of traffic.
    """
    digest = sha256(MARK)
    for one in raw:
        digest.update(b"%d " % len(one))
        digest.update(one)
    head = pb.ModelInferRequest()
    head.CopyFrom(message)
    head.ClearField("raw_input_contents")
    digest.update(head.SerializeToString(deterministic=True))
    told = b"".join(
        field(tag, text)
        for tag, text in ((TRACED, trace.encode()), *((STICKY, b"%b:%b" % one) for one in sticky.items()))
        if text
    )
    return b"".join((MARK, bytes((len(id),)), id.encode(), told, data)), digest.hexdigest()


def unpacked(kept: bytes) -> tuple[str, bytes, str, dict[bytes, bytes]]:
    """The id of a call, its serialized message, its trace, and `Exchange.sticky`; both are any text, for a caller may send such
    fields too.
    """
    at = 2 + kept[1]
    id = kept[2:at].decode()
    trace, at = field_at(kept, at, TRACED, MOST_TRACE)
    header, at = field_at(kept, at, STICKY, MOST_STICKY)
    name, _, value = header.partition(b":")
    return id, kept[at:], trace.decode("ascii", "replace"), {name: value} if value else {}


def field(tag: bytes, text: bytes) -> bytes:
    """A field of a message, of at most 2**14 - 1 bytes."""
    size = len(text)
    return tag + bytes((size & 127 | 128, size >> 7)) + text


def field_at(data: bytes, at: int, tag: bytes, most: int) -> tuple[bytes, int]:
    """What `field` has written there, at most so many bytes, and where it ends; b"" and the same place if there is no such field."""
    if data.startswith(tag, at):
        begin = at + len(tag) + 2
        low, high = data[begin - 2 : begin].ljust(2, b"\0")
        end = begin + (low & 127 | high << 7)
        if low > 127 >= high and end - begin <= most and end <= len(data):
            return data[begin:end], end
    return b"", at
