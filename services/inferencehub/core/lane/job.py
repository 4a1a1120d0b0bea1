"""A job of a lane: one call that waits or runs. Pure: time comes in as a number.

A job may be a merge of several callers' requests. Then its members say which rows belong to which caller, and until
when each caller waits. The rows of a member whose deadline has passed are cut out before the job runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from inferencehub.core.auth.caller import Flow
from inferencehub.core.values.requests import NO_TRIP, InferRequest, Times
from inferencehub.core.values.tensors import merge_rows, split_rows

if TYPE_CHECKING:
    import asyncio


LOOK_S = 1.0  # the least time between two looks at background work that waits


class Member(msgspec.Struct, frozen=True, gc=False):
    """A caller's part of a merged call: its number of rows, its deadline on the lane's clock, and its id.

    `caller` and `tenant` are who calls; "" where nobody is asked.
    """

    rows: int
    deadline: float
    id: str
    caller: str = ""
    tenant: str = ""


class Traced(Protocol):
    """A call's place in its trace; see `core/traces/context.py`. Lanes carry it."""

    trace_id: str
    number: int
    sampled: bool
    state: str

    @property
    def parent(self) -> str:
        """The `traceparent` for what it calls."""

    def child(self) -> Traced:
        """The place of a part of the call that has spans of its own."""


MOST_RETURNED = 16  # of them that a job remembers
MergeKey = tuple[object, ...]


class Run:
    """A running batch: the number of its jobs that still have a caller, and the task to cancel if none has.

    `again` is True if it is the second run of a job that was lost.
    """

    __slots__ = ("again", "started", "task", "wanted")

    def __init__(self, wanted: int, again: bool) -> None:
        self.wanted = wanted
        self.again = again
        self.started = False  # the task must not be cancelled before: it would never give its slot back
        self.task: asyncio.Task[None] | None = None

    def leave(self, current: asyncio.Task[Any] | None) -> None:
        """One of its jobs needs it no more. If none does, it is cancelled, unless it is the current task."""
        self.wanted -= 1
        if not self.wanted and self.started and self.task is not None and self.task is not current:
            self.task.cancel()


class Returned(NamedTuple):
    """A run that gave a job no answer, so that the job went back into its queue.

    Args:
        at: when, in seconds on the lane's clock.
        outcome, why: how it ended.
        waited: seconds that the job had waited before.
    """

    at: float
    outcome: str
    why: str
    waited: float


class StepRun(NamedTuple):
    """A step of an ensemble that has ended.

    Args:
        job: its call of its model.
        kind: "ok", or the label of its error.
        started, ended: in seconds on the lane's clock.
    """

    job: Job
    kind: str
    started: float
    ended: float


class Share:
    """What one flow has of a queue.

    `rows` of it wait, and weigh `weight`, relative to those of others. `ends` is where the turn of its last job ends, and
    `left` where that of the last one ends which has left for a slot.
    """

    __slots__ = ("ends", "left", "rows", "weight")

    def __init__(self) -> None:
        self.ends = self.left = 0.0
        self.rows = 0
        self.weight = 1.0


class Job:
    """A call that waits or runs.

    Args:
        request: checked against its signature.
        rows: the number of rows of its inputs; 1 if the model does not batch.
        members: the callers of these rows, in order; one member for a call that is not a merge.
        arrived: when the job came, in seconds on the lane's clock. It is set again when the job goes back into its queue;
            `received` stays.

    `has_parts` is True if its caller has some of several answers already, so that the job cannot run again. `losses` is
    the number of pods that were lost while they ran the job, here or before it came here. `counted` is True if its caller
    counts them, and decides about a second run: the lane begins none. `background` is True if nobody waits for it, so that it
    goes behind calls; its run may take `limit_s` seconds, however long it waits. `credit` is called with the weights of answers that
    have reached the caller, if the model gives several; its slot sets it (`sink.py`). `waited` is the time in seconds that
    the job spent in the lane. `trip` describes its batch, once the job is answered. `flow` says whose job it is where
    callers are asked who they are; `turn`, `ends` and `share` are those of its queue. `returned` are the
    runs that gave no answer, the first ones and the last. `tell` is called with how far its run
    is, from 0 to 1, if somebody wants to know. `trace` is its place in its trace, None if it has none. `steps` are
    those that have ended, if it is the call of an ensemble. `move` lets it go to another lane, where it may, if no slot of
    its own lane is left.
    """

    __slots__ = (
        "_key",
        "alone",
        "arrived",
        "background",
        "counted",
        "credit",
        "deadline",
        "dropped",
        "ends",
        "flow",
        "has_parts",
        "left_before",
        "limit_s",
        "losses",
        "members",
        "move",
        "received",
        "request",
        "returned",
        "rows",
        "run",
        "share",
        "size",
        "steps",
        "tell",
        "trace",
        "trip",
        "turn",
        "waited",
    )

    def __init__(self, request: InferRequest, rows: int, members: tuple[Member, ...], arrived: float) -> None:
        self.request = request
        self.rows = rows
        self.members = members
        self.arrived = self.received = arrived
        self.size = request.size
        self.deadline = (
            members[0].deadline if len(members) == 1 else max([member.deadline for member in members])
        )
        self.alone = self.has_parts = self.counted = self.background = False
        self.losses = self.left_before = 0
        self.turn = self.ends = self.limit_s = 0.0
        self.flow: Flow | None = None
        self.share: Share | None = None
        self.waited = 0.0
        self.returned: tuple[Returned, ...] = ()
        self.steps: tuple[StepRun, ...] = ()
        self.credit: Callable[[int], None] | None = None
        self.tell: Callable[[float], None] | None = None
        self.move: Callable[[Job], None] | None = None
        self.trace: Traced | None = None
        self.trip = NO_TRIP
        self.dropped: list[int] = []
        self.run: Run | None = None
        self._key: MergeKey | None = None

    def becomes(self, request: InferRequest) -> None:
        """Its request is another one of the same rows, which it has not waited with yet."""
        self.request, self.size, self._key = request, request.size, None

    def to_background(self) -> None:
        """Make background work of it, before it enters a lane."""
        self.background, self.limit_s = True, self.deadline - self.received

    def waits_on(self, now: float) -> bool:
        """Whether its deadline means nothing yet: that of background work is the deadline of its run, which has not begun."""
        if not self.background or self.run is not None:
            return False
        self.deadline = now + max(LOOK_S, self.limit_s)
        return True

    def begin(self, now: float) -> None:
        """Background work leaves for a slot: its time begins."""
        self.deadline = now + self.limit_s
        self.members = tuple([replace(member, deadline=self.deadline) for member in self.members])

    def came_back(self, now: float, outcome: str, why: str) -> None:
        """A run has ended at `now` without an answer: the job waits again."""
        returned = Returned(now, outcome, why, self.waited)
        self.returned = (*self.returned[: MOST_RETURNED - 1], returned)
        self.arrived = now  # `waited` has the time up to now

    @property
    def times(self) -> Times:
        """The times of the job up to now, in seconds."""
        trip = self.trip
        return Times(self.waited, trip.batch, trip.network, trip.compute, trip.input, trip.output)

    @property
    def batch_rows(self) -> int:
        """The number of rows of its batch."""
        return self.trip.rows

    @property
    def served_by(self) -> str:
        """The pod that answered the job."""
        return self.trip.served_by

    @property
    def key(self) -> MergeKey:
        """Jobs with equal keys may share a batch; computed at the first use."""
        if self._key is None:
            self._key = merge_key(self.request)
        return self._key


def merge_key(request: InferRequest) -> MergeKey:
    """The merge key of a request: equal for requests that differ only in their rows, and so may share a batch."""
    key: MergeKey = (request.model, request.version, request.outputs, request.classes)
    for tensor in request.inputs:
        key += (tensor.name, tensor.dtype, tensor.shape[1:])
    if request.parameters:
        parameters = sorted(request.parameters.items())
        # In Python True == 1 == 1.0, but a model may treat them differently. So the types are part of the key.
        key += (*parameters, tuple([type(value).__name__ for _, value in parameters]))
    return key


def drop_expired(job: Job, now: float) -> int:
    """Cut the rows of members whose deadline has passed out of a merged job; returns how many members these were.

    `job.dropped` gets the indices that these members had when the job came: the job may run, and be cut, again.

    A job with one member, or with no member in time, is not changed: its own deadline decides.
    """
    if len(job.members) == 1 or all(member.deadline > now for member in job.members):
        return 0
    dropped = [index for index, member in enumerate(job.members) if member.deadline <= now]
    if len(dropped) == len(job.members):
        return 0
    gone = set(dropped)
    left = [index for index in range(len(job.members) + len(job.dropped)) if index not in job.dropped]
    rows = [member.rows for member in job.members]
    columns = [split_rows(tensor, rows) for tensor in job.request.inputs]
    kept = [merge_rows([part for index, part in enumerate(parts) if index not in gone]) for parts in columns]
    job.request = job.request.with_inputs(tuple(kept))
    job.members = tuple([member for index, member in enumerate(job.members) if index not in gone])
    job.rows = sum([member.rows for member in job.members])
    job.dropped = sorted([*job.dropped, *[left[index] for index in dropped]])
    return len(dropped)
