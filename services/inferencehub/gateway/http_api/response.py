"""The head of an answer, as lines: what many answers share is written once.

The short way writes them as they are, ASGI gets them as pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferencehub.core.values.requests import Trip
from inferencehub.core.values.tensors import Buffer

# Lines of an answer's head.
JSON = b"content-type: application/json\r\n"
CLOSE = b"connection: close\r\n"

Headers = list[tuple[bytes, bytes]]


# What answers a request that went well: the lines of its content's headers, and the content in parts.
Reply = tuple[bytes, Sequence[Buffer]]


def ms(seconds: float) -> float:
    """Milliseconds, in whole microseconds."""
    return int(seconds * 1e6) / 1e3


class Defaults:
    """The headers that a server has for every answer, as lines: the date, in a list that is a new one each second."""

    def __init__(self) -> None:
        self._headers: Headers = []
        self._lines = b""

    def lines(self, headers: Headers) -> bytes:
        """The lines of these headers."""
        if headers is not self._headers:
            self._headers = headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines


class ShownTrip:
    """What callers and the access log see of a batch: lines for the head of an answer, and milliseconds."""

    __slots__ = ("batch_ms", "compute_ms", "network_ms", "served_by", "timing", "trip")

    def __init__(self, trip: Trip) -> None:
        seconds = (trip.batch, trip.network, trip.compute)
        self.trip = trip
        self.batch_ms, self.network_ms, self.compute_ms = map(ms, seconds)
        self.timing = b"batch;dur=%.3f, network;dur=%.3f, compute;dur=%.3f, " % tuple(
            [s * 1e3 for s in seconds]
        )
        self.served_by = b"x-served-by: %b\r\n" % trip.served_by.encode() if trip.served_by else b""


def headers(lines: bytes) -> Headers:
    """Lines of a head as ASGI wants them."""
    pairs = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
    return [(name, value) for name, _, value in pairs]


async def send_reply(send: Any, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
    """Answer through ASGI."""
    body = b"".join(parts)
    told = headers(b"%bcontent-length: %d\r\n" % (lines, len(body)))
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})
