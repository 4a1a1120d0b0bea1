"""What a job of gRPC keeps of its request: the id of its call, and the serialized message, which has its time limit."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from inferencehub.core.values.tensors import Buffer
from inferencehub.pb import open_inference_pb2 as pb

# The first byte of what is kept. HTTP keeps its requests as arrays of msgpack, which begin with 90 to 9f, dc or dd. It is
# not c1, which msgpack never uses: a store may mark with that byte what it has compressed.
MARK = b"g"
TRACED = b"\xff"  # a trace follows, before the id; no id is so long
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
        trace: that of the call, see `Trace.kept`; "" without one.
    """
    digest = sha256(MARK)
    for one in raw:
        digest.update(b"%d " % len(one))
        digest.update(one)
    head = pb.ModelInferRequest()
    head.CopyFrom(message)
    head.ClearField("raw_input_contents")
    digest.update(head.SerializeToString(deterministic=True))
    parts = (MARK, bytes((len(id),)), id.encode(), data)
    if trace:
        begins = TRACED + len(trace).to_bytes(2, "big")
        parts = (MARK, begins + trace.encode(), bytes((len(id),)) + id.encode(), data)
    return b"".join(parts), digest.hexdigest()


def unpacked(kept: bytes) -> tuple[str, bytes, str]:
    """The id of a call, its serialized message, and its trace."""
    at, trace = 1, ""
    if kept[1:2] == TRACED:
        at = 4 + int.from_bytes(kept[2:4], "big")
        trace = kept[4:at].decode()
    end = at + 1 + kept[at]
    return kept[at + 1 : end].decode(), kept[end:], trace
