"""Header lines of answers: those of every answer, and those that an error adds. Lines of a batch are written once."""

from __future__ import annotations

from collections.abc import Sequence

from inferencehub.core.auth.limits import LimitReached
from inferencehub.core.http1.coding.deflate import VARY, deflated
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import NO_TRIP, Trip
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange

JSON = b"content-type: application/json\r\n"
# For browsers: the content type holds, whatever the bytes look like (Fetch standard, "X-Content-Type-Options").
NO_SNIFFING = b"x-content-type-options: nosniff\r\n"

# The content of a successful answer: its header lines, and its body in parts.
Content = tuple[bytes, Sequence[Buffer]]


def compressed(content: Content, coding: bytes) -> Content:
    """The content of an answer, compressed if it gets smaller; the length of its JSON stays that of plain JSON."""
    lines, parts = content
    packed = deflated(parts, coding)
    if not packed:
        return lines + VARY, parts
    return b"%b%bcontent-encoding: %b\r\n" % (lines, VARY, coding), packed


def ms(seconds: float) -> float:
    """Seconds as milliseconds, cut to whole microseconds."""
    return int(seconds * 1e6) / 1e3


def version_line(version: str) -> bytes:
    """The header line with the version of the model that ran; none for a version that a line cannot carry."""
    if not version.isascii() or not version.isprintable():  # servers of others may use any text
        return b""
    return b"x-model-version: %b\r\n" % version.encode()


class ShownTrip:
    """The times of a batch, and the pod and the version that ran it, as header lines for callers and in ms for the access log."""

    __slots__ = ("batch_ms", "compute_ms", "network_ms", "served_by", "timing", "trip")

    def __init__(self, trip: Trip) -> None:
        seconds = (trip.batch, trip.network, trip.compute)
        self.trip = trip
        self.batch_ms, self.network_ms, self.compute_ms = map(ms, seconds)
        self.timing = b"batch;dur=%.3f, network;dur=%.3f, compute;dur=%.3f, " % tuple(
            [s * 1e3 for s in seconds]
        )
        self.served_by = b"x-served-by: %b\r\n" % trip.served_by.encode() if trip.served_by else b""
        if trip.version:
            self.served_by += version_line(trip.version)


class SharedLines:
    """Writes header lines. The jobs of a batch are answered one after another, so the lines they share are kept."""

    def __init__(self) -> None:
        self._kept = ShownTrip(NO_TRIP)

    def of(self, exchange: Exchange, now: float) -> bytes:
        """Header lines: request id, timing, the pod that answered, and the model's version; `now` is on the clock of `time.monotonic`."""
        id, job = exchange.id.encode(), exchange.job
        total = (now - exchange.started) * 1e3
        if job is None:
            return b"x-request-id: %b\r\nserver-timing: total;dur=%.3f\r\n" % (id, total)
        shown = self.shown(job.trip)
        ran = shown.served_by
        if not job.trip.version and job.request.version:  # known before an answer, and without one
            ran += version_line(job.request.version)
        return b"x-request-id: %b\r\nserver-timing: queue;dur=%.3f, %btotal;dur=%.3f\r\n%b" % (
            (id, job.waited * 1e3, shown.timing, total, ran)
        )

    def shown(self, trip: Trip) -> ShownTrip:
        """The lines and times of a batch."""
        if self._kept.trip is not trip:
            self._kept = ShownTrip(trip)
        return self._kept


KINDS = {kind.http: kind.label for kind in Kind}


class WrongMethod(HubError):
    """The error for a method that a path does not accept; `allow` lists the methods that it accepts."""

    def __init__(self, method: str, path: bytes, allow: str) -> None:
        shown = path[:120].decode("latin-1")
        super().__init__(Kind.WRONG_METHOD, f"'{shown}' does not take {method[:20]}, expected {allow}")
        self.allow = allow


# After these a second call would only make the model run, and fail, again. OpenAI's client would make it at once.
FINAL = frozenset((Kind.MODEL_FAILED, Kind.UNSUPPORTED, Kind.DEADLINE))


def error_lines(error: HubError) -> bytes:
    """Header lines of the answer to a request that failed."""
    lines = JSON
    if error.kind in FINAL:
        lines += b"x-should-retry: false\r\n"
    if error.kind in (Kind.BUSY, Kind.NOT_READY):
        lines += b"retry-after: %d\r\n" % error.retry_after
    if isinstance(error, LimitReached):
        policy = error.policy.encode()
        lines += b'ratelimit-policy: "%b";%b\r\n' % (policy, error.quota.encode())
        lines += b'ratelimit: "%b";r=0;t=%d\r\n' % (policy, error.retry_after)
    if error.kind is Kind.UNAUTHENTICATED:
        lines += b"www-authenticate: Bearer\r\n"
    if isinstance(error, WrongMethod):
        lines += b"allow: %b\r\n" % error.allow.encode()
    return lines
