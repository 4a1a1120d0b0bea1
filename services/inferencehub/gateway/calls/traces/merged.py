"""Runs of several calls, until all of their calls have come to the exporter's thread."""

from __future__ import annotations

from random import getrandbits

from inferencehub.core.traces import encoding
from inferencehub.core.values.requests import Trip

MOST_KEPT = 1000  # runs that are remembered, because more of their calls may come


class MergedRun:
    """A run of several calls: the ids of its span, and links to the calls that have come.

    Args:
        trip: what its calls share.
        model: of the run.
        start: when it came to the pod, on the clock of `time.monotonic`.
    """

    __slots__ = ("link", "links", "missing", "model", "number", "seen", "start", "trace_id", "trip")

    def __init__(self, trip: Trip, model: str, start: float) -> None:
        self.trip = trip  # as long as it is here, no other one has its identity
        self.model = model
        self.start = start
        # Those that went to the pod with it.
        trace_id, self.number = trip.span or (f"{getrandbits(128) or 1:032x}", getrandbits(64) or 1)
        self.trace_id = bytes.fromhex(trace_id)
        self.link = encoding.link(self.trace_id, self.number)
        self.links: list[bytes] = []
        self.missing = trip.rows
        self.seen = False  # whether `complete` has looked at it

    def add(self, rows: int, link: bytes) -> None:
        """A call of the run has come."""
        self.missing -= rows
        self.links.append(link)


class MergedRuns:
    """See the module's text. The calls of a run are answered one after the other, so they come together, or nearly."""

    def __init__(self) -> None:
        self._kept: dict[int, MergedRun] = {}
        self._open: list[MergedRun] = []  # whose spans are not made yet

    def run_of(self, trip: Trip, model: str, start: float) -> MergedRun:
        """The run of a call, by what its calls share."""
        run = self._kept.get(id(trip))
        if run is None:
            run = self._kept[id(trip)] = MergedRun(trip, model, start)
            self._open.append(run)
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return run

    def complete(self) -> list[MergedRun]:
        """The runs whose spans are to be made: all calls have come, or were not all kept, as far as anybody can tell."""
        ready: list[MergedRun] = []
        waiting: list[MergedRun] = []
        for run in self._open:
            (ready if run.missing <= 0 or run.seen else waiting).append(run)
            run.seen = True
        self._open = waiting
        return ready
