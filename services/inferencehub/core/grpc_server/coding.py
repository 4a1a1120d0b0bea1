"""gzip and deflate over gRPC: requests that come compressed, and the answers to them.

grpcio does not decompress here (`grpc.per_message_decompression`). It would refuse a request that is too large as if the
server were busy, and a broken one as if the server had failed; and it does not say that a request was compressed. So a
message arrives as it was sent, and shows by its first bytes what it is. A plain message never begins as gzip does: no
field has the wire type 7. It may begin as zlib does; then it counts as compressed if all of it can be decompressed,
checksum included.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from inferencehub.core.http1.coding.deflate import DEFLATE, GZIP, WORTH, shrinks
from inferencehub.core.http1.coding.inflate import inflate
from inferencehub.core.values.errors import HubError, Kind, bad_input

GZIP_MAGIC = b"\x1f\x8b"
ALGORITHMS = {GZIP: grpc.Compression.Gzip, DEFLATE: grpc.Compression.Deflate}
SMALL_CODED = 2**10  # bytes of a compressed message that becomes 1 MiB at most (RFC 1951): some ms
MOST_CODED = 2**17  # bytes; grpcio compresses answers in the event loop, and this many take some ms


def coding_of(data: bytes) -> bytes:
    """The coding that a message seems to have: `GZIP`, `DEFLATE`, or b"" for none."""
    if data[:2] == GZIP_MAGIC:
        return GZIP
    if len(data) > 1 and data[0] & 15 == 8 and data[0] < 128 and (data[0] << 8 | data[1]) % 31 == 0:
        return DEFLATE  # RFC 1950 2.2
    return b""


def decoded(data: bytes, most: int) -> tuple[bytes, bytes]:
    """A message without its compression, and its coding; b"" if it was not compressed.

    Args:
        data: the message as it came.
        most: the largest message in bytes; decompression stops there.

    Raises:
        HubError: TOO_LARGE if it would be larger than `most`, BAD_INPUT if it begins as gzip and is not.
    """
    coding = coding_of(data)
    if not coding:
        return data, b""
    try:
        return inflate(data, coding, most), coding
    except HubError as error:
        if error.kind is Kind.TOO_LARGE:
            text = f"the request has more than {most} bytes once it is decompressed, expected at most {most}"
            raise HubError(Kind.TOO_LARGE, text) from None
    if coding == GZIP:
        raise bad_input("the bytes that came begin as gzip does, and are not one whole gzip message")
    return data, b""


async def decode(data: bytes, most: int) -> tuple[bytes, bytes]:
    """As `decoded`; a thread decompresses what may become large."""
    if len(data) > SMALL_CODED and coding_of(data):
        return await asyncio.to_thread(decoded, data, most)
    return decoded(data, most)


def pays(answer: bytes, coding: bytes) -> bool:
    """Whether an answer is compressed for a caller that used this coding: as over HTTP, but not if it is large."""
    return WORTH <= len(answer) <= MOST_CODED and shrinks(answer, coding)


async def encode(answer: bytes, coding: bytes, context: Any) -> None:
    """Let gRPC compress the answer to a unary call, if it pays."""
    if pays(answer, coding):
        context.set_compression(ALGORITHMS[coding])
        await context.send_initial_metadata(())  # grpcio forgets the algorithm if it sends it with the answer
