"""Sinks: where the answers to a job go. A sink gets any number of parts, then one end.

Nearly every model gives one answer, and this answer is the end: then `part` is never called, and costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from inferencehub.core.lane.job import Job
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse

logger = logging.getLogger(__name__)

# The last or only answer, or an error, or None if all answers were parts. "The caller has left" is an error too.
End = InferResponse | HubError | None
# Called with each of several answers to a batch.


class Emit(Protocol):
    """Takes one of several answers to a batch."""

    def __call__(self, response: InferResponse, dropped: Sequence[int] = ()) -> None:
        """`dropped` has the indices of the jobs that the answer has no rows for: their deadline has passed."""


class Sink(Protocol):
    """See the module's text. Both methods are called from the event loop, never from within `Lane.accept`."""

    def part(self, response: InferResponse) -> None:
        """Take one of several answers; more parts or the end follow."""

    def end(self, end: End) -> None:
        """Take the end. It is called once, and no other method after it."""


class OneAnswer:
    """A sink for code that awaits a single answer: `future` gets the answer or the `HubError`.

    The future is cancelled if the caller has left. Several answers are an error here.
    """

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()

    def part(self, response: InferResponse) -> None:
        """Fail: there will be several answers. The code that awaits the future leaves the lane then."""
        if not self.future.done():
            self.future.set_exception(several_answers(response.model))

    def end(self, end: End) -> None:
        """Set the result of the future, unless it is done already."""
        if self.future.done():
            return
        if isinstance(end, InferResponse):
            self.future.set_result(end)
        elif end is None:
            self.future.set_exception(several_answers(""))
        elif end.kind is Kind.CALLER_LEFT:
            self.future.cancel()
        else:
            self.future.set_exception(end)


def end_all(ends: Sequence[tuple[Sink, End]]) -> None:
    """Give each sink its end; an exception in one sink is logged and does not affect the others."""
    for sink, end in ends:
        try:
            sink.end(end)
        except Exception:
            logger.exception("answer not delivered")


def several_answers(model: str) -> HubError:
    """The error for a call that can carry one answer, if the model gives several."""
    named = f"model '{model}'" if model else "the model"
    return HubError(Kind.UNSUPPORTED, f"{named} gives several answers, and this call can carry only one")


def caller_left(model: str) -> HubError:
    """The end of a job whose caller has left."""
    return HubError(Kind.CALLER_LEFT, f"the caller of model '{model}' has left")


def deadline_passed(job: Job) -> HubError:
    """The error for a job that was not answered in time."""
    return HubError(
        Kind.DEADLINE, f"model '{job.request.model}' gave no answer before the request's deadline"
    )
