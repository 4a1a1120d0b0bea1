"""A request's body: read whole, within a limit of bytes and of time, and decompressed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from inferencehub.core.values.errors import HubError, Kind, bad_input

# What `zlib` calls the containers of each content coding (RFC 9110 8.4.1); "deflate" is zlib-wrapped.
WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}

Body = bytes | memoryview


class CallerLeft(Exception):
    """The connection closed before the request was whole, or before it was answered."""


async def read_body(
    headers: Mapping[bytes, bytes], receive: Any, most: int, within_s: float, hold: Callable[[int], None]
) -> bytes:
    """The body of an HTTP request.

    Args:
        headers: the request's.
        receive: of ASGI.
        most: bytes that it may have, as sent and once decompressed.
        within_s: seconds in which all of it must have come.
        hold: accounts for bytes before they are held, or raises.

    Raises:
        HubError: what `hold` raises, TOO_LARGE before it is read whole, TOO_SLOW, or BAD_INPUT where it cannot be decompressed.
        CallerLeft: where the caller hung up.
    """
    told = int(headers.get(b"content-length", 0))
    if told > most:
        raise too_large(most, f"{told} bytes")
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding not in WINDOW_BITS and encoding not in (b"", b"identity"):
        shown = encoding.decode("latin-1")[:80]
        raise bad_input(f"content-encoding '{shown}' is not taken, expected gzip, deflate or identity")
    message = await first(receive, within_s)
    body: bytes = message.get("body", b"")
    if len(body) > most:
        raise too_large(most, f"at least {len(body)} bytes")
    hold(len(body))
    if message.get("more_body"):
        body = await rest(receive, body, most, within_s, hold)
    if encoding in WINDOW_BITS:
        body = inflate(body, WINDOW_BITS[encoding], most)
        hold(len(body))
    return body


async def first(receive: Any, within_s: float) -> Any:
    """The first piece; most bodies have no other, and it is there already."""
    try:
        async with asyncio.timeout(within_s):
            message = await receive()
    except TimeoutError:
        raise too_slow(within_s, 0) from None
    if message["type"] == "http.disconnect":
        raise CallerLeft
    return message


async def rest(receive: Any, begun: bytes, most: int, within_s: float, hold: Callable[[int], None]) -> bytes:
    """All pieces, the first one being here."""
    pieces, size = [begun], len(begun)
    try:
        async with asyncio.timeout(within_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CallerLeft
                piece = message.get("body", b"")
                size += len(piece)
                if size > most:
                    raise too_large(most, f"at least {size} bytes")
                hold(len(piece))
                pieces.append(piece)
                if not message.get("more_body"):
                    return b"".join(pieces)
    except TimeoutError:
        raise too_slow(within_s, size) from None


def inflate(body: bytes, window_bits: int, most: int) -> bytes:
    """A compressed body's content, refused as soon as it is larger than `most`."""
    stream = zlib.decompressobj(window_bits)
    try:
        content = stream.decompress(body, most + 1)
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]
        raise bad_input(f"the body is not compressed as its content-encoding says: {reason}") from None
    if len(content) > most:
        raise too_large(most, f"more than {most} bytes once it is decompressed")
    if not stream.eof or stream.unused_data:
        got = "one that is cut short" if not stream.eof else f"{len(stream.unused_data)} bytes behind its end"
        raise bad_input(f"expected one whole compressed body, got {got}")
    return content


def too_large(most: int, got: str) -> HubError:
    """The error of a body that is too large."""
    return HubError(Kind.TOO_LARGE, f"the body has {got}, expected at most {most}")


def too_slow(within_s: float, got: int) -> HubError:
    """The error of a body that did not come in time."""
    return HubError(
        Kind.TOO_SLOW, f"expected the whole body within {within_s:g} s, got {got} bytes until then"
    )
