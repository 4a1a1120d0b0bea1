"""What may be asked about jobs. Each caller sees those of their own tenant, or their own without one, of models that they may use."""

from __future__ import annotations

from inferencehub.core.auth.caller import LONGEST, Caller
from inferencehub.core.values.errors import HubError, Kind, bad_input, listed
from inferencehub.gateway.jobs.record import JobRecord, Result, State
from inferencehub.gateway.jobs.store import gone, no_job
from inferencehub.gateway.jobs.submit import Jobs

MOST_LISTED, LISTED = 1000, 100  # jobs in one answer
LONGEST_ID = 64  # characters; callers may send any


class Asking:
    """What one caller asks.

    Args:
        jobs: the jobs.
        caller: who asks.
    """

    def __init__(self, jobs: Jobs, caller: Caller) -> None:
        self._jobs = jobs
        self._sees = caller.sees
        self._owner = owner_of(caller)

    async def job(self, id: str) -> JobRecord:
        """How a job stands.

        Raises:
            HubError: NOT_FOUND, also for one that is somebody else's.
        """
        if len(id) > LONGEST_ID:
            raise no_job(id)
        record = await self._jobs.store.job(self._owner, id)
        if not self._visible(record):
            raise no_job(record.id)
        return record

    def _visible(self, record: JobRecord) -> bool:
        """Whether the caller may use the model of a job, or all those of a batch."""
        models = (record.model,) if record.items is None else record.items.models
        return all(map(self._sees, models))

    async def wait(self, id: str, wait_s: float) -> JobRecord:
        """How a job stands once it has ended, or after so many seconds.

        Raises:
            HubError: NOT_FOUND.
        """
        await self.job(id)
        return await self._jobs.wait(self._owner, id, wait_s)

    async def result(self, record: JobRecord) -> Result:
        """The result of a job that has ended and is no batch.

        Raises:
            HubError: GONE if there is none, or none any more.
        """
        if not record.status:
            raise gone(record)
        return await self._jobs.store.result(self._owner, record.id)

    async def listed(
        self, state: str, model: str, most: int, cursor: str
    ) -> tuple[list[JobRecord], str | None]:
        """Jobs, the newest first, and the cursor of those that follow; None if there are no more.

        Args:
            state, model: of which; "" for all.
            most: how many, from 1 to `MOST_LISTED`.
            cursor: of the answer before; "" for the newest.

        Raises:
            HubError: BAD_INPUT for a state or a cursor that is none.
        """
        if state and state not in list(State):
            raise bad_input(f"state: expected one of {listed(State)}, got '{state[:40]}'")
        if len(cursor) > LONGEST_ID:
            raise bad_input(f"cursor: expected that of an answer, got '{cursor[:40]}'")
        if len(model) > LONGEST:  # there is none
            return [], None
        found = await self._jobs.store.listed(self._owner, state, model, most, cursor)
        following = found[-1].id if len(found) == most else None
        return [one for one in found if self._visible(one)], following

    async def batches(self, most: int, after: str) -> tuple[list[JobRecord], bool]:
        """Batches of which their front keeps something, the newest first, and whether there are more.

        Args:
            most: how many.
            after: the id that they come behind; "" for the newest.
        """
        found: list[JobRecord] = []
        if len(after) > LONGEST_ID:  # there is none
            return found, False
        while len(found) <= most:
            page = await self._jobs.store.batches.listed(self._owner, most + 1, after)
            found += [one for one in page if self._visible(one)]
            if len(page) <= most:
                break
            after = page[-1].id
        return found[:most], len(found) > most

    async def cancel(self, id: str) -> JobRecord:
        """Let a job not run, or not on; one that has ended stays as it is.

        Raises:
            HubError: NOT_FOUND.
        """
        await self.job(id)
        return await self._jobs.cancel(self._owner, id)

    async def retry(self, id: str) -> JobRecord:
        """Let a job that failed, expired or was cancelled wait again.

        Raises:
            HubError: NOT_FOUND or CONFLICT.
        """
        await self.job(id)
        return await self._jobs.retry(self._owner, id)

    async def delete(self, id: str) -> JobRecord:
        """Let nothing be left of a job; how it stood.

        Raises:
            HubError: NOT_FOUND.
        """
        record = await self.job(id)
        await self._jobs.delete(self._owner, id)
        return record


def owner_of(caller: Caller) -> str:
    """Who may ask for a caller's jobs: their tenant, or they alone; "" where nobody is asked."""
    return "" if caller.flow is None else caller.flow.name


def no_jobs() -> HubError:
    """The error for a question about jobs, where there are none."""
    return HubError(Kind.UNSUPPORTED, "there are no jobs: HUB_JOBS says where they are kept")
