"""The place of a run at a pod in traces: what goes with a batch to its pod, so that what its model calls has a parent.

A run of one call is a span of the call's trace. A run of several is a span in a trace of its own: it has as many parents as
callers, and `traceparent` has room for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import getrandbits

from inferencehub.core.lane.job import Job, Traced
from inferencehub.core.traces.context import CALL, POD_RUN, Trace

MOST_IDS = 60  # of traces, that the access line of a pod has


class RunPlace:
    """The place of a batch's run.

    Args:
        traces: those of its calls, at least one.
        several: whether it is the run of several calls.

    `run` is the run itself, and `call` what calls its pod. If there are several, `ids` are those of their traces, separated by
    commas, and `span` is as in `Trip`.
    """

    __slots__ = ("call", "ids", "run", "span")

    def __init__(self, traces: Sequence[Traced], several: bool) -> None:
        self.ids = ""
        self.span: tuple[str, int] | None = None
        if several:
            bits = getrandbits(192)
            sampled = True in [trace.sampled for trace in traces]
            self.run = self.call = run = Trace(
                f"{bits >> 64 or 1:032x}", bits & (2**64 - 1) or 1, "", sampled
            )
            self.span = (run.trace_id, run.number)
            self.ids = ",".join(list(dict.fromkeys([trace.trace_id for trace in traces]))[:MOST_IDS])
        else:
            self.run, self.call = below(traces[0], POD_RUN), below(traces[0], CALL)


def place_of(jobs: Sequence[Job]) -> RunPlace | None:
    """The place of the run of some calls; None where there are no traces."""
    traces = [job.trace for job in jobs if job.trace is not None]
    return RunPlace(traces, len(jobs) > 1) if traces else None


def below(trace: Traced, number: int) -> Trace:
    """The place of one of a call's spans, such as `CALL`, for what that one calls."""
    return Trace(trace.trace_id, trace.number + number, "", trace.sampled, trace.state)
