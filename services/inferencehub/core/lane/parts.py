"""A job with more rows than its model takes at a time: it runs in parts, and is answered as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.queues.queue import Queue
from inferencehub.core.lane.sink import End, Sink, caller_left, several_answers
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.tensors import merge_rows, split_rows

MOST_AT_ONCE = 16  # parts of a job that wait or run


class Accepts(Protocol):
    """What it needs of a lane."""

    bytes_held: ByteBudget
    queue: Queue

    def accept(self, job: Job, sink: Sink, patience: int = 0) -> None:
        """See `Lane.accept`."""

    def leave(self, job: Job, enough: str | None = None) -> None:
        """See `Lane.leave`."""


class Parts:
    """The parts of a job. A few of them are in the lane at a time, so that those of others come between.

    These do not fill the lane's queue. While others fill it, the next part comes when one of those in the lane has ended.

    Args:
        lane: where they run.
        job: the whole.
        most: rows of a part.
        sink: gets the end.
        over: called with the job when no part is left.
    """

    def __init__(self, lane: Accepts, job: Job, most: int, sink: Sink, over: Callable[[Job], object]) -> None:
        self._lane, self._job, self._sink, self._over = lane, job, sink, over
        self._rows = rows = [min(most, job.rows - begin) for begin in range(0, job.rows, most)]
        columns = [split_rows(tensor, rows) for tensor in job.request.inputs]
        self._left = [
            (count, tuple(inputs)) for count, inputs in zip(rows, zip(*columns, strict=True), strict=True)
        ]
        self._left.reverse()
        self._answers: list[InferResponse | None] = [None] * len(rows)
        self._running: set[Job] = set()
        self._at_once = max(1, min(MOST_AT_ONCE, lane.queue.limit // most))
        self._held = 0  # bytes of parts that are not in the lane yet
        self._ended = False

    def begin(self) -> None:
        """Put the first parts into the lane.

        Raises:
            HubError: as `Lane.accept`; then nothing runs.
        """
        self._lane.bytes_held.take(self._job.size)
        self._held = self._job.size
        try:
            self._go_on()
        except HubError:
            self._stop()
            raise

    def leave(self) -> None:
        """The caller of the job has left."""
        if not self._ended:
            self._stop()
            self._over(self._job)
            asyncio.get_running_loop().call_soon(self._sink.end, caller_left(self._job.request.model))

    def _go_on(self) -> None:
        while self._left and len(self._running) < self._at_once:
            number = len(self._answers) - len(self._left)
            rows, inputs = self._left[-1]
            part = part_of(self._job, self._job.request.with_inputs(inputs), rows)
            self._lane.bytes_held.give(part.size)
            try:
                self._lane.accept(part, PartSink(self, part, number))
            except HubError as error:
                self._lane.bytes_held.add(part.size)
                if error.kind is Kind.BUSY and self._running:
                    return
                raise
            self._held -= part.size
            self._left.pop()
            self._running.add(part)

    def ended(self, part: Job, number: int, end: End) -> None:
        """A part has its end."""
        self._running.discard(part)
        if self._ended:
            return
        self._job.losses = max(self._job.losses, part.losses)
        if not isinstance(end, InferResponse):
            self._end(end if isinstance(end, HubError) else several_answers(self._job.request.model))
            return
        self._answers[number] = end
        if self._job.tell is not None:
            self._job.tell(1.0 - (len(self._left) + len(self._running)) / len(self._answers))
        try:
            self._go_on()
        except HubError as error:
            self._end(error)
            return
        if not self._running:
            self._job.waited, self._job.trip = part.waited, part.trip
            self._end(joined([answer for answer in self._answers if answer is not None], self._rows))

    def _stop(self) -> None:
        self._ended = True
        self._lane.bytes_held.give(self._held)
        self._held = 0
        self._left.clear()
        for part in list(self._running):
            self._lane.leave(part)

    def _end(self, end: End) -> None:
        self._stop()
        self._over(self._job)
        self._sink.end(end)


class PartSink:
    """Gets the end of a part.

    Args:
        parts: all of them.
        part: this one.
        number: which one it is, from 0.
    """

    __slots__ = ("_number", "_part", "_parts")
    several = False

    def __init__(self, parts: Parts, part: Job, number: int) -> None:
        self._parts, self._part, self._number = parts, part, number

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`: models that give several answers take no parts."""
        self._parts.ended(self._part, self._number, several_answers(response.model))

    def end(self, end: End) -> None:
        """See `Sink`."""
        self._parts.ended(self._part, self._number, end)


def part_of(whole: Job, request: InferRequest, rows: int) -> Job:
    """A call that is a part of another one, as a job that comes now.

    Whose call it is, until when, and what may happen to it are those of the whole. Of background work each part has the time
    of a run, however long the parts before it have waited.

    Args:
        whole: of one caller.
        request, rows: of the part.
    """
    now, (member,) = monotonic(), whole.members
    deadline = now + whole.limit_s if whole.background else whole.deadline
    part = Job(request, rows, (Member(rows, deadline, member.id, member.caller, member.tenant),), now)
    part.flow, part.trace = whole.flow, whole.trace
    part.losses, part.counted, part.alone = whole.losses, whole.counted, whole.alone
    if whole.background:
        part.to_background()
    return part


def joined(answers: list[InferResponse], rows: Sequence[int]) -> InferResponse | HubError:
    """The answers of parts as one; an error if they do not belong together.

    Args:
        answers: in the order of the parts.
        rows: of each part.
    """
    first = answers[0]
    model = first.model
    if any(answer.version != first.version for answer in answers):
        versions = " and ".join(sorted({answer.version for answer in answers}))
        detail = f"model '{model}' went from version to version ({versions}) while the request ran in parts"
        return HubError(Kind.NOT_READY, detail)
    kinds = [[(tensor.name, tensor.dtype, tensor.shape[1:]) for tensor in one.outputs] for one in answers]
    if any(kind != kinds[0] for kind in kinds):
        detail = f"model '{model}' gave outputs of different names or shapes to parts of the request"
        return HubError(Kind.MODEL_FAILED, detail)
    for answer, count in zip(answers, rows, strict=True):
        for tensor in answer.outputs:
            if tensor.shape[:1] != (count,):
                detail = f"model '{model}' gave output '{tensor.name}' of shape {list(tensor.shape)} for {count} rows"
                return HubError(Kind.MODEL_FAILED, detail)
    columns = zip(*[answer.outputs for answer in answers], strict=True)
    return InferResponse(model, first.version, tuple(map(merge_rows, columns)), first.parameters)
