"""Decompresses the bodies of requests, up to a limit."""

from __future__ import annotations

import zlib

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.tensors import Buffer

CODINGS = frozenset((b"gzip", b"x-gzip", b"deflate"))
GZIP, ZLIB, RAW = 31, 15, -15  # zlib's window bits for each format
# A gzip body may have several members (RFC 1952 2.2). zlib copies what is behind one, so it gets one piece at a time.
PIECE, MOST_MEMBERS = 2**16, 2000


def window_of(body: memoryview, coding: bytes) -> int:
    """zlib's window bits for a body.

    "deflate" means the zlib format (RFC 9110 8.4.1.2), but some clients send it without zlib's header. What begins like
    that header (RFC 1950 2.2) is no raw deflate of any encoder: it would be a stored block with padding that is not 0.
    """
    if coding != b"deflate":
        return GZIP
    if len(body) > 1 and body[0] & 15 != 8 and (body[0] & 6) != 6:
        return RAW
    return ZLIB


def inflate(body: Buffer, coding: bytes, most: int) -> bytes:
    """Decompress a body.

    Args:
        body: the compressed body.
        coding: its coding, one of `CODINGS`.
        most: the largest content in bytes; decompression stops there.

    Raises:
        HubError: TOO_LARGE if the content is larger than `most`, BAD_INPUT if the body has another format.
    """
    view, at, parts, left = memoryview(body), 0, [], most + 1
    window_bits = window_of(view, coding)
    try:
        for _ in range(MOST_MEMBERS if window_bits == GZIP else 1):
            stream = zlib.decompressobj(window_bits)
            while not stream.eof:
                if at == len(view):
                    raise bad_input("expected one whole compressed body, got one that is cut short")
                parts.append(stream.decompress(view[at : at + PIECE], left))
                at = min(at + PIECE, len(view)) - len(stream.unused_data)
                left -= len(parts[-1])
                if not left:
                    raise too_large(most, f"more than {most} bytes once it is decompressed")
            if at == len(view):
                return b"".join(parts)
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]
        raise bad_input(f"the body is not compressed as its content-encoding says: {reason}") from None
    raise bad_input(f"expected one whole compressed body, got {len(view) - at} bytes behind its end")


def too_large(most: int, got: str) -> HubError:
    """The error for a body that is too large."""
    return HubError(Kind.TOO_LARGE, f"the body has {got}, expected at most {most}")
