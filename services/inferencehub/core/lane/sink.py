"""Sinks: where the answers to a job go. A sink gets any number of parts, then one end.

Nearly every model gives one answer, and this answer is the end: then `part` is never called, and costs nothing.

A model that gives several answers may be ahead of its caller by a window. Each answer has a weight in bytes. The
process of the model may give answers while its window is open: it begins with `WINDOW`, and each answer takes its
weight from it, so the last one may exceed it. The front that has delivered an answer credits its weight (`Job.credit`),
and credits go back the way that answers came, some together. So between the model's `yield` and the caller there are at
most `WINDOW` bytes and one answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse

if TYPE_CHECKING:
    from inferencehub.core.lane.job import Job

logger = logging.getLogger(__name__)

WINDOW = 2**16  # bytes
OVERHEAD = 512  # bytes that an answer takes beside its tensors, roughly
# The last or only answer, or an error, or None if all answers were parts. "The caller has left" is an error too.
End = InferResponse | HubError | None
# Called with each of several answers to a batch.


class Emit(Protocol):
    """Takes one of several answers to a batch."""

    def __call__(self, response: InferResponse, weight: int, dropped: Sequence[int] = ()) -> None:
        """`dropped` has the indices of the jobs that the answer has no rows for: their deadline has passed."""


class Sink(Protocol):
    """See the module's text. Both methods are called from the event loop, never from within `Lane.accept`."""

    @property
    def several(self) -> bool:
        """Whether it takes parts. A request to a decoupled model is refused if its sink does not."""

    def part(self, response: InferResponse, weight: int) -> None:
        """Take one of several answers; more parts or the end follow.

        Whoever has delivered it calls the job's `credit` with its weight: the model waits for that.
        """

    def end(self, end: End) -> None:
        """Take the end. It is called once, and no other method after it."""


class Window:
    """Gathers the credits of one call.

    Args:
        send: called with credits that have come together. What it waits for is never larger than half a window.
    """

    __slots__ = ("_owed", "_send")

    def __init__(self, send: Callable[[int], None]) -> None:
        self._send = send
        self._owed = 0

    def credit(self, weight: int) -> None:
        """Answers of this weight have reached the caller."""
        self._owed += weight
        if self._owed >= WINDOW // 2:
            owed, self._owed = self._owed, 0
            self._send(owed)


class OneAnswer:
    """A sink for code that awaits a single answer: `future` gets the answer or the `HubError`.

    The future is cancelled if the caller has left. Several answers are an error here.
    """

    __slots__ = ("future",)
    several = False

    def __init__(self) -> None:
        self.future: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()

    def part(self, response: InferResponse, weight: int) -> None:
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


class AnswerQueue:
    """A sink for code that awaits any number of answers: `next` gives one after the other, and then the end."""

    __slots__ = ("_came",)
    several = True

    def __init__(self) -> None:
        self._came: asyncio.Queue[tuple[InferResponse, int] | End] = asyncio.Queue()

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`."""
        self._came.put_nowait((response, weight))

    def end(self, end: End) -> None:
        """See `Sink`."""
        self._came.put_nowait(end)

    async def next(self) -> tuple[InferResponse, int] | InferResponse | None:
        """One of several answers with its weight; or the end: the last or only answer, or None.

        Raises:
            HubError: if the call fails.
        """
        got = await self._came.get()
        if not isinstance(got, HubError):
            return got
        try:
            raise got
        finally:
            del got  # its traceback has this frame: a cycle that would keep the request


def weight_of(size: int) -> int:
    """The weight of an answer whose tensors have `size` bytes."""
    return size + OVERHEAD


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
    return HubError(
        Kind.UNSUPPORTED,
        f"{named} gives several answers, and this call can carry only one; expected generate_stream over HTTP, or "
        "ModelStreamInfer over gRPC",
    )


def caller_left(model: str) -> HubError:
    """The end of a job whose caller has left."""
    return HubError(Kind.CALLER_LEFT, f"the caller of model '{model}' has left")


def deadline_passed(job: Job) -> HubError:
    """The error for a job that was not answered in time."""
    return HubError(
        Kind.DEADLINE, f"model '{job.request.model}' gave no answer before the request's deadline"
    )
