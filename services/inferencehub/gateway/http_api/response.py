"""What the head of every answer carries, as lines; what many answers share is written once."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from inferencehub.core.values.requests import NO_TRIP, Trip
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange

JSON = b"content-type: application/json\r\n"

# An answer that went well: the lines of its content's headers, and the content in parts.
Content = tuple[bytes, Sequence[Buffer]]


def ms(seconds: float) -> float:
    """Milliseconds, in whole microseconds."""
    return int(seconds * 1e6) / 1e3


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


class SharedLines:
    """Writes the lines of answers; jobs of a batch end one after another, so what they share is kept."""

    def __init__(self) -> None:
        self._shown = ShownTrip(NO_TRIP)

    def of(self, exchange: Exchange) -> bytes:
        """Request id, timing, and the pod that answered."""
        id, job = exchange.id.encode(), exchange.job
        total = (monotonic() - exchange.started) * 1e3
        if job is None:
            return b"x-request-id: %b\r\nserver-timing: total;dur=%.3f\r\n" % (id, total)
        shown = self.shown(job.trip)
        return b"x-request-id: %b\r\nserver-timing: queue;dur=%.3f, %btotal;dur=%.3f\r\n%b" % (
            (id, job.waited * 1e3, shown.timing, total, shown.served_by)
        )

    def shown(self, trip: Trip) -> ShownTrip:
        """A batch, as callers see it."""
        if self._shown.trip is not trip:
            self._shown = ShownTrip(trip)
        return self._shown
