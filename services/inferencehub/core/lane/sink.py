"""Where the answers to a job go: any number of parts, then one end.

Nearly every model gives one answer, and that is its end: `part` is never called then, and costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from inferencehub.core.lane.job import Job
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse

logger = logging.getLogger(__name__)

# The last or only answer, or an error, or None where all answers were parts. A caller that has left is an error, too.
End = InferResponse | HubError | None
# Takes one of several answers to a batch.
Emit = Callable[[InferResponse], None]


class Sink(Protocol):
    """See the module's text. Both are called from the event loop, never from within `Lane.accept`."""

    def part(self, response: InferResponse) -> None:
        """One of several answers; more, or the end, will follow."""

    def end(self, end: End) -> None:
        """Called once, and nothing is called after it."""


class OneAnswer:
    """A sink for code that awaits a single answer: `future` gets it, or the `HubError`.

    The future is cancelled where the caller has left. A model that gives several answers is an error here.
    """

    __slots__ = ("_several", "future")

    def __init__(self) -> None:
        self.future: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()
        self._several = ""

    def part(self, response: InferResponse) -> None:
        """Remember that there are several."""
        self._several = response.model

    def end(self, end: End) -> None:
        """Settle the future, unless nobody awaits it any more."""
        if self.future.done():
            return
        if isinstance(end, HubError):
            if end.kind is Kind.CALLER_LEFT:
                self.future.cancel()
            else:
                self.future.set_exception(end)
        elif self._several or end is None:
            self.future.set_exception(several_answers(self._several))
        else:
            self.future.set_result(end)


def end_all(ends: Sequence[tuple[Sink, End]]) -> None:
    """End each; what goes wrong with one does not touch the others."""
    for sink, end in ends:
        try:
            sink.end(end)
        except Exception:
            logger.exception("answer not delivered")


def several_answers(model: str) -> HubError:
    """The error of a call that can carry one answer, where the model gives several."""
    named = f"model '{model}'" if model else "the model"
    return HubError(Kind.UNSUPPORTED, f"{named} gives several answers, and this call can carry only one")


def caller_left(model: str) -> HubError:
    """The end of a job whose caller has left; nobody reads it."""
    return HubError(Kind.CALLER_LEFT, f"the caller of model '{model}' has left")


def deadline_passed(job: Job) -> HubError:
    """The error of a job that was not answered in time."""
    return HubError(
        Kind.DEADLINE, f"model '{job.request.model}' gave no answer before the request's deadline"
    )
