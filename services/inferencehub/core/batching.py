"""The rules of the lane, pure: what may go together, when it leaves, how it splits, what happens on failure.

No clock, no socket, no await: time comes in as a number, decisions go out as values. `lane.py` acts on them.

- A queue is in order of arrival. What leaves next always holds the oldest job, and as many of those behind it as may
  go with it: same merge key, together at most `max_rows` rows. A job that may not merge ends the batch, so that order
  holds within a model.
- A job is one call. It may itself be a merge: then its members say which rows are whose, and until when each is
  wanted, and a member that is past its deadline is cut out before the job runs.
- A batch that fails is put back with every job marked `alone`, so that only the poison one fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from math import ceil
from typing import TYPE_CHECKING

from inferencehub.core.errors import HubError, Kind
from inferencehub.core.messages import NO_TRIP, InferRequest, InferResponse, Times
from inferencehub.core.pace import foretold
from inferencehub.core.tensors import Tensor, merge_rows, split_rows
from inferencehub.core.values import value_class

if TYPE_CHECKING:
    import asyncio


@value_class(frozen=True, slots=True)
class Member:
    """A caller's part of a merged call: how many rows, until when wanted (on the lane's clock), and its id."""

    rows: int
    deadline: float
    id: str


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


MergeKey = tuple[object, ...]


class Run:
    """A batch on its way: how many of its jobs are still wanted, and the task to cancel when none is."""

    __slots__ = ("started", "task", "wanted")

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.started = False  # a task that is cancelled before its first step would never give its slot back
        self.task: asyncio.Task[None] | None = None


class Job:
    """A call that waits or runs.

    Args:
        request: checked against its signature.
        rows: the rows of its inputs; 1 where the model does not batch.
        members: whose rows they are, in order; one for a call that is no merge.
        arrived: when it came, in seconds on the lane's clock.

    `waited` is the seconds that it spent in the lane, `trip` what is known of its batch once it is answered.
    """

    __slots__ = (
        "_key",
        "alone",
        "arrived",
        "deadline",
        "dropped",
        "left_before",
        "members",
        "request",
        "returns",
        "rows",
        "run",
        "size",
        "trip",
        "turn",
        "waited",
    )

    def __init__(self, request: InferRequest, rows: int, members: tuple[Member, ...], arrived: float) -> None:
        self.request = request
        self.rows = rows
        self.members = members
        self.arrived = arrived
        self.size = request.size
        self.deadline = (
            members[0].deadline if len(members) == 1 else max([member.deadline for member in members])
        )
        self.alone = False
        self.returns = self.turn = self.left_before = 0
        self.waited = 0.0
        self.trip = NO_TRIP
        self.dropped: list[int] = []
        self.run: Run | None = None
        self._key: MergeKey | None = None

    @property
    def times(self) -> Times:
        """Where its time went so far."""
        trip = self.trip
        return Times(self.waited, trip.batch, trip.network, trip.compute)

    @property
    def batch_rows(self) -> int:
        """Rows of the batch that it was answered with."""
        return self.trip.rows

    @property
    def served_by(self) -> str:
        """The pod that answered it."""
        return self.trip.served_by

    @property
    def key(self) -> MergeKey:
        """Equal to that of a job that may go with this one; found out when there is one."""
        if self._key is None:
            self._key = merge_key(self.request)
        return self._key


def merge_key(request: InferRequest) -> MergeKey:
    """Equal for requests that may share a batch: all but the number of rows and the bytes is the same."""
    key: list[object] = [request.model, request.version, request.outputs]
    if request.parameters:
        parameters = sorted(request.parameters.items())
        # A bool equals 1 and an int its float: the types are part of the key, for the model may tell them apart.
        key += (*parameters, tuple([type(value).__name__ for _, value in parameters]))
    for tensor in request.inputs:
        key += (tensor.name, tensor.dtype, tensor.shape[1:])
    return tuple(key)


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


class Queue:
    """Jobs in order of arrival, in front of slots.

    Args:
        max_rows: rows of one batch; 0 where the model does not batch.
        limit: rows that may wait; a job comes in while fewer do.
    """

    def __init__(self, max_rows: int, limit: int) -> None:
        self.max_rows = max_rows
        self.limit = limit
        self.rows = 0
        self._jobs: deque[Job] = deque()
        self._turns = 0
        self._left = 0  # jobs that left for a slot

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether no job comes in."""
        return self.rows >= self.limit

    def push(self, job: Job) -> None:
        """Add a job at the end.

        Raises:
            HubError: BUSY where the queue is full.
        """
        if self.rows >= self.limit:
            raise HubError(
                Kind.BUSY,
                f"model '{job.request.model}' is busy: {self.rows} rows wait for it and its limit is {self.limit}",
            )
        self._turns += 1
        job.turn = self._turns
        job.left_before = self._left
        self._jobs.append(job)
        self.rows += job.rows

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Return a batch's jobs to the head; they were accepted once and are never refused now.

        Of batches that return one after another the older may come first: each job finds its own place.
        """
        back = list(jobs)
        while self._jobs and back and self._jobs[0].turn < jobs[-1].turn:
            back.append(self._jobs.popleft())
        for job in jobs:
            job.left_before = self._left
        self._jobs.extendleft(sorted(back, key=lambda job: job.turn, reverse=True))
        self.rows += sum([job.rows for job in jobs])

    def not_served(self, jobs: int) -> None:
        """So many of those that left did not run."""
        self._left -= jobs

    def wait(self, now: float) -> float:
        """Seconds that a job would wait that came now, as far as that can be told; see `pace.py`."""
        if not self._jobs:
            return 0.0
        oldest = self._jobs[0]
        left = self._left - oldest.left_before
        return foretold(len(self._jobs), left, now - oldest.arrived) if left else 0.0

    def remove(self, job: Job) -> bool:
        """Forget a job; False where it does not wait."""
        try:
            self._jobs.remove(job)
        except ValueError:
            return False
        self.rows -= job.rows
        return True

    def waiting(self) -> list[Job]:
        """The jobs, the oldest first."""
        return list(self._jobs)

    def take(self, shared_by: int = 1) -> Batch | None:
        """The next batch, or None where nothing waits.

        Args:
            shared_by: how many slots could begin at once: a batch leaves the others their part of what waits.
        """
        jobs = self._jobs
        if not jobs:
            return None
        most = min(self.max_rows, ceil(self.rows / shared_by)) if shared_by > 1 else self.max_rows
        head = jobs.popleft()
        batch, rows = [head], head.rows
        while jobs and rows < most and not head.alone:
            following = jobs[0]
            if following.alone or rows + following.rows > self.max_rows or following.key != head.key:
                break
            batch.append(jobs.popleft())
            rows += following.rows
        self.rows -= rows
        self._left += len(batch)
        if head.alone or not self.max_rows:
            return Batch((head,), Reason.ALONE)
        return Batch(tuple(batch), Reason.FULL if rows >= self.max_rows else Reason.SLOT_FREE)


def drop_expired(job: Job, now: float) -> None:
    """Cut the rows of members whose deadline has passed out of a merged job.

    `job.dropped` holds the indices that they had when the job came, for it may be looked at again when it runs anew.

    A job with one member, or with none left, is not touched: its own deadline speaks for it.
    """
    if len(job.members) == 1 or all(member.deadline > now for member in job.members):
        return
    dropped = [index for index, member in enumerate(job.members) if member.deadline <= now]
    if len(dropped) == len(job.members):
        return
    gone = set(dropped)
    left = [index for index in range(len(job.members) + len(job.dropped)) if index not in job.dropped]
    rows = [member.rows for member in job.members]
    columns = [split_rows(tensor, rows) for tensor in job.request.inputs]
    kept = [merge_rows([part for index, part in enumerate(parts) if index not in gone]) for parts in columns]
    job.request = job.request.with_inputs(tuple(kept))
    job.members = tuple([member for index, member in enumerate(job.members) if index not in gone])
    job.rows = sum([member.rows for member in job.members])
    job.dropped = sorted([*job.dropped, *[left[index] for index in dropped]])


class ByteBudget:
    """The bytes of all that a process has accepted and not answered yet, over all its lanes.

    Args:
        limit: bytes that may be held at a time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> None:
        """Account for `size` more bytes.

        Raises:
            HubError: as `check`.
        """
        self.check(size)
        self.held += size

    def check(self, size: int) -> None:
        """Do nothing where `size` more bytes may be taken.

        Raises:
            HubError: BUSY where they would go over the limit, TOO_LARGE where they never could.
        """
        if self.held + size <= self.limit:
            return
        if size > self.limit:
            raise HubError(Kind.TOO_LARGE, f"the request has {size} bytes, expected at most {self.limit}")
        raise HubError(
            Kind.BUSY,
            f"{self.held} bytes of requests are waiting and {size} more came; the limit is {self.limit}",
        )

    def give(self, size: int) -> None:
        """Let `size` bytes go."""
        self.held -= size


class RetryBudget:
    """How many second tries there may be: a share of the first ones, so that retries never multiply an outage.

    Args:
        share: retries earned by one accepted job.
        most: retries that can be saved up.
    """

    def __init__(self, share: float = 0.2, most: float = 100.0) -> None:
        self.share = share
        self.most = most
        self.saved = most

    def earn(self) -> None:
        """Count an accepted job."""
        if self.saved < self.most:
            self.saved = min(self.most, self.saved + self.share)

    def spend(self) -> bool:
        """Take one retry; False where none is left."""
        if self.saved < 1.0:
            return False
        self.saved -= 1.0
        return True
