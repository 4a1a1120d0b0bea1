"""Batches: how jobs merge, how their answer is split, and how a run may fail.

Pure: no clock, no socket, no await. Time comes in as a number, decisions go out as values, and `lane.py` acts on them.
If a batch fails, its jobs are put back and marked `alone`, so that only the request that caused the failure fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum

import msgspec

from inferencehub.core.lane.job import Job, Member, Traced
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse, Trip
from inferencehub.core.values.tensors import Buffer, Tensor, merge_rows, split_rows


class Reason(Enum):
    """Why a batch left."""

    SLOT_FREE = "slot_free"  # a slot was free: the batch took all waiting jobs that fitted
    FULL = "full"  # no more rows fit
    ALONE = "alone"  # the model does not batch, or the job runs alone after a failure


class Outcome(Enum):
    """How a run ended that gave no answer."""

    FAILED = "failed"  # the model or the request caused it
    REFUSED = "refused"  # the pod was full and did not start the batch
    LOST = "lost"  # the pod went away; the batch may have run


class NotAnswered(Exception):
    """A run that gave no answer: its outcome, and the error for jobs that are not tried again.

    `trip` has where it ran and its times, None if these are not known.
    """

    def __init__(self, outcome: Outcome, error: HubError, trip: Trip | None = None) -> None:
        super().__init__(error.detail)
        self.outcome = outcome
        self.error = error
        self.trip = trip


def cut_off(model: str) -> NotAnswered:
    """A run of `model` that was cancelled, although its callers still wait."""
    return NotAnswered(Outcome.LOST, HubError(Kind.NOT_READY, f"model '{model}' was cut off while it ran"))


def unreadable(error: Exception) -> NotAnswered:
    """A run whose answer cannot be used; a `ValueError` says why."""
    detail = str(error) if isinstance(error, ValueError) else "an answer that could not be read"
    return NotAnswered(Outcome.FAILED, HubError(Kind.MODEL_FAILED, f"the model gave {detail}"))


class Batch(msgspec.Struct, frozen=True):
    """Jobs that leave together, and the reason why they leave now."""

    jobs: tuple[Job, ...]
    reason: Reason

    def without(self, jobs: Collection[Job]) -> Batch:
        """The batch without some of its jobs."""
        return Batch(tuple([job for job in self.jobs if job not in jobs]), self.reason)

    @property
    def rows(self) -> int:
        """The number of rows of all jobs."""
        return sum([job.rows for job in self.jobs])

    @property
    def deadline(self) -> float:
        """The latest deadline of its jobs."""
        return max([job.deadline for job in self.jobs])

    @property
    def members(self) -> tuple[Member, ...]:
        """The members of all jobs, in order."""
        return tuple([member for job in self.jobs for member in job.members])

    @property
    def ids(self) -> str:
        """The ids of all members that have one, separated by commas."""
        return ",".join([member.id for member in self.members if member.id])

    @property
    def trace(self) -> Traced | None:
        """That of its first job whose trace is kept, or else has one; None if none has."""
        found: Traced | None = None
        for job in self.jobs:
            if job.trace is not None and (found is None or job.trace.sampled > found.sampled):
                found = job.trace
        return found

    @property
    def tell(self) -> Callable[[float], None] | None:
        """Tells the progress of the run to each job for which somebody wants to know it; None if nobody does."""
        tells = []
        for job in self.jobs:
            if job.tell is not None:
                tells.append(job.tell)
        if not tells:
            return None

        def tell_all(progress: float) -> None:
            for tell in tells:
                tell(progress)

        return tell_all

    def request(self) -> InferRequest:
        """The jobs' requests merged into one; their rows follow one another in the order of the jobs."""
        first = self.jobs[0].request
        if len(self.jobs) == 1:
            return first
        columns = zip(*[job.request.inputs for job in self.jobs], strict=True)
        return first.with_inputs(tuple([merge_rows(column) for column in columns]))

    def raw(self) -> list[list[Buffer]]:
        """The data of each input of `request`, as one buffer for each job, without a copy."""
        columns = zip(*[job.request.inputs for job in self.jobs], strict=True)
        return [[tensor.data for tensor in column] for column in columns]

    def split(self, response: InferResponse) -> list[InferResponse]:
        """One answer for each job, cut from the answer of the batch.

        Raises:
            ValueError: if an output does not have one row for each row of the batch.
        """
        if len(self.jobs) == 1:
            return [response]
        rows = [job.rows for job in self.jobs]
        columns = [split_rows(tensor, rows) for tensor in response.outputs]
        outputs: list[tuple[Tensor, ...]] = list(zip(*columns, strict=True)) if columns else [()] * len(rows)
        model, version, parameters = response.model, response.version, response.parameters
        return [InferResponse(model, version, parts, parameters) for parts in outputs]
