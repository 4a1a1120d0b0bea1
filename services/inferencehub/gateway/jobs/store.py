"""The store of jobs: what each of them does, whatever is behind it. One suite of tests holds for all.

A job runs at least once and has one result at most: `finish` takes that of the newest attempt alone. A gateway that runs a
job renews its lease. Where a lease ends, the gateway was lost, and the job with it; what was lost `MOST_LOSSES` times is
given up, for it may be the cause.

A batch is a job too. `cancel`, `retry` and `delete` note what is to be done with its items, and `Batches.step` does it.

Jobs of a lane are claimed in turn from each owner who has some, as often as the owner's weight says, and of an owner by
priority and age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.limits.quotas import Quotas
from inferencehub.gateway.jobs.batch import Batches
from inferencehub.gateway.jobs.condition import Condition
from inferencehub.gateway.jobs.files import Files
from inferencehub.gateway.jobs.record import Claim, JobRecord, NewJob, Place, Result, State
from inferencehub.gateway.jobs.webhooks.outbox import Outbox
from inferencehub.gateway.routing.control.wishes import Wishes

Attempt = tuple[str, int]  # the id of a job, and the number of the attempt
MOST_LOSSES = 2  # pods and gateways, in the life of a job
MOST_TOLD = 2**20  # bytes that are told at a time


class Waiting(NamedTuple):
    """What waits for a lane: jobs that may run now, and when the oldest of them came, in Unix time."""

    jobs: int
    oldest: float


class Store(Protocol):
    """See the module's text. Times are Unix time in seconds.

    Each method raises `HubError` NOT_READY where the store can't be reached or used.
    """

    durability: str  # what an accepted job survives, as the header Hub-Durability says it

    @property
    def batches(self) -> Batches:
        """The batches in it."""

    @property
    def files(self) -> Files:
        """The files in it."""

    @property
    def quotas(self) -> Quotas:
        """The quotas of callers, which it counts for all gateways."""

    @property
    def wishes(self) -> Wishes:
        """What is wished of models, which it keeps for all gateways."""

    @property
    def webhooks(self) -> Outbox:
        """What is to be delivered of the jobs that have ended."""

    async def start(self) -> None:
        """Open the store.

        Raises:
            BadFile: if it can't be used.
        """

    async def stop(self) -> None:
        """Close the store."""

    async def add(self, job: NewJob) -> JobRecord:
        """Keep a job; if its owner has one with its key already, that is the answer.

        Raises:
            HubError: KEY_REUSED if that one has another digest, BUSY if too many jobs wait.
        """

    async def claim(self, places: Mapping[str, Place], lease_s: float, now: float) -> list[Claim]:
        """Take jobs to run them: of each lane, until they have so many rows."""

    async def renew(self, attempts: Sequence[Attempt], lease_s: float, now: float) -> set[Attempt]:
        """Renew the leases of attempts; those that still hold. What does not was cancelled or lost."""

    async def finish(
        self, id: str, attempt: int, state: State, error: str, result: Result, now: float
    ) -> bool:
        """Keep the result of an attempt; False if it is not the newest, or the job was cancelled."""

    async def put_back(
        self, id: str, attempt: int, not_before: float, lost: int, refused: int, now: float
    ) -> None:
        """An attempt has no result: the job waits again, with its time to wait begun anew.

        Args:
            id, attempt: which.
            not_before: when it may run again.
            lost: pods that were lost with it. With `MOST_LOSSES` the job fails.
            refused: 1 if it counts as an attempt in which nothing ran.
            now: the time.
        """

    async def tell(self, id: str, attempt: int, at: int, data: bytes, progress: float | None) -> int:
        """An attempt goes on: keep what it has answered meanwhile, and its progress.

        What the store has already is not kept twice, so this may be repeated. All of it goes when the attempt ends without
        a result; the body of a result takes the place of what was told.

        Args:
            id, attempt: which.
            at: bytes of its stream of answers before `data`.
            data: those that follow, at most `MOST_TOLD`.
            progress: from 0 to 1; None if it is as before.

        Returns:
            Bytes that the store has of the stream; -1 if the attempt is not the newest, or has ended.
        """

    async def told(self, owner: str, id: str, attempt: int, after: int, most: int) -> bytes:
        """What follows the first `after` bytes of an attempt's stream of answers, at most `most` bytes.

        It is b"" if there is nothing yet, or the attempt is not the newest.

        Raises:
            HubError: NOT_FOUND.
        """

    async def job(self, owner: str, id: str) -> JobRecord:
        """How a job stands.

        Raises:
            HubError: NOT_FOUND.
        """

    async def result(self, owner: str, id: str) -> Result:
        """The result of a job that has ended with one.

        Raises:
            HubError: NOT_FOUND, or GONE if there is none any more.
        """

    async def listed(self, owner: str, state: str, model: str, most: int, before: str) -> list[JobRecord]:
        """An owner's jobs, the newest first.

        Args:
            owner: whose.
            state, model: of which; "" for all.
            most: how many.
            before: the id that they are older than; "" for the newest.
        """

    async def cancel(self, owner: str, id: str, now: float) -> JobRecord:
        """Cancel a job that has not ended; one that has stays as it is.

        Raises:
            HubError: NOT_FOUND.
        """

    async def retry(self, owner: str, id: str, now: float) -> JobRecord:
        """Let a job that failed, expired or was cancelled wait again, as if it were new.

        Raises:
            HubError: NOT_FOUND, CONFLICT if it has not ended, or succeeded, or BUSY if a batch's items are too many.
        """

    async def delete(self, owner: str, id: str) -> None:
        """Forget a job, and cancel it if it has not ended.

        Raises:
            HubError: NOT_FOUND.
        """

    async def sweep(self, now: float) -> int:
        """Take the jobs back whose leases have ended, and give up those that waited too long; how many leases ended."""

    async def waiting(self, now: float) -> dict[str, Waiting]:
        """What waits, by lane."""

    async def condition(self) -> Condition:
        """How the store is.

        Raises:
            HubError: NOT_READY if it does not answer; the text says why, without user and password.
        """


def no_job(id: str) -> HubError:
    """The error for a job that is not there, or that belongs to somebody else."""
    return HubError(Kind.NOT_FOUND, f"there is no job '{id[:80]}'")


def key_reused(key: str, id: str) -> HubError:
    """The error for an idempotency key that came with another request before."""
    return HubError(
        Kind.KEY_REUSED,
        f"Idempotency-Key '{key[:80]}' came with another request before, as job {id}; expected the same request and time limit",
    )


def too_many(most: int) -> HubError:
    """The error for a job that finds no place."""
    return HubError(Kind.BUSY, f"no more than {most} jobs may wait, and so many do", retry_after=5)


def gone(record: JobRecord) -> HubError:
    """The error for the result of a job that has none, or none any more."""
    if record.items is not None:
        return HubError(Kind.GONE, f"the time of the results of batch {record.id} is over")
    if record.state is State.CANCELLED:
        return HubError(Kind.GONE, f"job {record.id} was cancelled")
    if record.state is State.EXPIRED:
        return HubError(Kind.GONE, f"job {record.id} has expired: {record.error}")
    if not record.status:
        return HubError(Kind.GONE, f"job {record.id} has no result: {record.error}")
    return HubError(Kind.GONE, f"the time of the result of job {record.id} is over")


def not_to_retry(record: JobRecord) -> HubError:
    """The error for a job that can't be retried."""
    ended = record.state.ended and record.state is not State.SUCCEEDED
    why = "its request is kept no longer" if ended else f"it is {record.state.value}"
    expected = "expected one that failed, expired or was cancelled, within X-Job-Ttl-S of its end"
    return HubError(Kind.CONFLICT, f"job {record.id} cannot be tried again: {why}, {expected}")


CANCELLED = "it was cancelled"
WAITED_TOO_LONG = "it waited longer than X-Job-Ttl-S says"
LOST = f"{MOST_LOSSES} pods or gateways were lost while they ran it; it is not tried again"
ONCE = "the gateway that ran it was lost, and its model must not run twice"
