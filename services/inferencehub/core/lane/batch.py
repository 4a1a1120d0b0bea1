"""Jobs that leave a lane together: how they merge, how their answer is split, and how a run may fail. Pure.

No clock, no socket, no await: time comes in as a number, decisions go out as values; `lane.py` acts on them. A batch that
fails is put back with every job marked `alone`, so that only the request that caused it fails.
"""

from __future__ import annotations

from enum import Enum

from inferencehub.core.lane.job import Job, Member
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.tensors import Buffer, Tensor, merge_rows, split_rows
from inferencehub.core.values.value_class import value_class


class Reason(Enum):
    """Why a batch left."""

    SLOT_FREE = "slot_free"  # a slot was free: it left with all that waited and fitted
    FULL = "full"  # no more rows fit
    ALONE = "alone"  # the model does not batch, or the job is run apart after a failure


class Outcome(Enum):
    """How a run ended for a job that the run itself did not answer."""

    FAILED = "failed"  # the model, or the request, is at fault
    REFUSED = "refused"  # the pod was full and did not start it
    LOST = "lost"  # the pod went away; it may have run


class NotAnswered(Exception):
    """A run that gave no answer: what became of it, and the error for those whose last try it was."""

    def __init__(self, outcome: Outcome, error: HubError) -> None:
        super().__init__(error.detail)
        self.outcome = outcome
        self.error = error


@value_class(frozen=True, slots=True)
class Batch:
    """Jobs that leave together, and why now."""

    jobs: tuple[Job, ...]
    reason: Reason

    @property
    def rows(self) -> int:
        """Rows of all its jobs."""
        return sum([job.rows for job in self.jobs])

    @property
    def deadline(self) -> float:
        """When the last of its jobs is no longer wanted."""
        return max([job.deadline for job in self.jobs])

    @property
    def members(self) -> tuple[Member, ...]:
        """The members of all its jobs, in order."""
        return tuple([member for job in self.jobs for member in job.members])

    def request(self) -> InferRequest:
        """The jobs' requests as one: their rows, one behind the other."""
        first = self.jobs[0].request
        if len(self.jobs) == 1:
            return first
        columns = zip(*[job.request.inputs for job in self.jobs], strict=True)
        return first.with_inputs(tuple([merge_rows(column) for column in columns]))

    def raw(self) -> list[list[Buffer]]:
        """The data of `request`'s inputs, each as its jobs have it, one behind the other."""
        columns = zip(*[job.request.inputs for job in self.jobs], strict=True)
        return [[tensor.data for tensor in column] for column in columns]

    def split(self, response: InferResponse) -> list[InferResponse]:
        """One answer a job, cut out of the batch's.

        Raises:
            ValueError: where an output has not one row for each row of the batch.
        """
        if len(self.jobs) == 1:
            return [response]
        rows = [job.rows for job in self.jobs]
        columns = [split_rows(tensor, rows) for tensor in response.outputs]
        outputs: list[tuple[Tensor, ...]] = list(zip(*columns, strict=True)) if columns else [()] * len(rows)
        model, version, parameters = response.model, response.version, response.parameters
        return [InferResponse(model, version, parts, parameters) for parts in outputs]
