"""What is kept of a job: what it runs, how it stands, and what came out of it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

PRIORITIES = (0, 9)  # the lowest and the highest
PRIORITY = 4
STREAM = b"text/event-stream"  # the type of a body that is a stream of answers


class State(StrEnum):
    """Where a job is: it waits, a gateway runs it, or it has ended."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more, unless somebody retries it."""
        return self not in (State.QUEUED, State.RUNNING)


class Webhook(msgspec.Struct, frozen=True):
    """Where the end of a job is told, and how that stands.

    Args:
        url: gets a POST.
        host: its host and port; deliveries at a time are bounded for each.
        request: id of the call that became the job, for logs.
        state: pending, delivered or failed.
        ends: how often the job has ended; each end is a message of its own.
        attempts: to deliver the last of them.
        status: HTTP status of the last answer; 0 for none.
        error: why the last attempt failed; "" if it did not.
        trace: of the call that became the job, see `Trace.kept`.
    """

    url: str
    host: str
    request: str
    state: str = "pending"
    ends: int = 0
    attempts: int = 0
    status: int = 0
    error: str = ""
    trace: str = ""


class NewJob(msgspec.Struct, frozen=True):
    """A job that is to be kept. Times are Unix time in seconds.

    Args:
        id: sorts by the time when the job was made.
        owner: who may ask for it: a tenant, or a caller without one; "" where nobody is asked.
        caller, tenant: who has sent it, for logs.
        model, version: what it calls; version "" for the default one.
        rows: how many rows its inputs have.
        request: what runs, in a form that only its front reads; of a batch, what the front keeps of it.
        key: the caller's idempotency key; "" without one.
        digest: of everything that one key must not be used for twice.
        priority: within its owner's jobs, see `PRIORITIES`.
        weight: of its owner's jobs, relative to those of others.
        created, not_before: when it came, and when it may run.
        keep_s: seconds that it may wait, and that its result is kept.
        webhook: where its end is told; None for nowhere.
    """

    id: str
    owner: str
    caller: str
    tenant: str
    model: str
    version: str
    rows: int
    request: bytes
    key: str
    digest: str
    priority: int
    weight: float
    created: float
    not_before: float
    keep_s: float
    webhook: Webhook | None = None

    @property
    def lane(self) -> str:
        """The lane that it waits for."""
        return lane_of(self.model, self.version)


class Items(msgspec.Struct, frozen=True):
    """How the items of a batch stand.

    Args:
        total: how many there are.
        running, succeeded, failed, cancelled, expired: how many of them are so; all others wait.
        models: that they call.
        doing: what is being done with all of them, see `batch.py`; "" for nothing.
        about: what the batch's front keeps of it; not in a list of jobs.
    """

    total: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    models: tuple[str, ...]
    doing: str
    about: bytes = b""

    @property
    def ended(self) -> int:
        """How many will not change any more."""
        return self.succeeded + self.failed + self.cancelled + self.expired

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self.total - self.running - self.ended


class JobRecord(msgspec.Struct, frozen=True):
    """How a job stands. Times are Unix time in seconds.

    Args:
        items: how its items stand; None if it is no batch.
        place: jobs of its owner and model that run before it, 1000 for more; None if it does not wait, or was not asked for.
        expires: when it is given up if it waits, and when its result goes if it has ended; None while it runs.
        status: HTTP status of its result; 0 before there is one.
        error: why it did not succeed; "" if it did, or has not ended.
        webhook: where its end is told; None for nowhere.
        progress: of its newest attempt, from 0 to 1, as the model has told; None if it has not.
        told: bytes of that attempt's stream of answers that may be read already; 0 if it is no stream.
    """

    id: str
    model: str
    version: str
    state: State
    priority: int
    attempts: int
    created: float
    not_before: float
    started: float | None
    ended: float | None
    expires: float | None
    status: int
    error: str
    place: int | None = None
    items: Items | None = None
    webhook: Webhook | None = None
    progress: float | None = None
    told: int = 0


class Place(NamedTuple):
    """Room for jobs of a lane: for how many rows, and whether its model must not run one twice."""

    rows: int
    once: bool = False


class Claim(NamedTuple):
    """One attempt to run a job, by one gateway. `attempt` is the fence: who has an older one can't finish the job.

    Args:
        lane: see `lane_of`.
        refusals: attempts before in which nothing ran.
        losses: pods and gateways that were lost while they ran it.
    """

    id: str
    attempt: int
    caller: str
    tenant: str
    owner: str
    weight: float
    lane: str
    rows: int
    once: bool
    refusals: int
    losses: int
    request: bytes


class Result(NamedTuple):
    """What a call would have been answered: HTTP status, header lines as bytes, and body."""

    status: int
    lines: bytes
    body: bytes

    @property
    def streamed(self) -> int:
        """Bytes of its stream of answers; 0 if it is one answer."""
        return len(self.body) if STREAM in self.lines else 0


def lane_of(model: str, version: str) -> str:
    """The name of a lane: jobs that name a version do not wait for the default one. Models have no '/' in their names."""
    return f"{model}/{version}" if version else model


def key_of(lane: str) -> tuple[str, str]:
    """The model and the version of a lane."""
    model, _, version = lane.partition("/")
    return model, version


def model_of(lane: str) -> str:
    """The model of a lane."""
    return key_of(lane)[0]
