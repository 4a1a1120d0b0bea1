"""The store in Valkey or Redis; see `jobs/store.py` for what each method does, and `jobs.lua` for how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from secrets import token_hex
from time import time
from urllib.parse import unquote

from inferencehub.core.values.errors import HubError
from inferencehub.gateway.jobs.condition import Condition
from inferencehub.gateway.jobs.files import MOST_BYTES
from inferencehub.gateway.jobs.packing import (
    fitting,
    packed_job,
    packed_result,
    unpacked_claims,
    unpacked_result,
)
from inferencehub.gateway.jobs.record import Claim, JobRecord, NewJob, Place, Result, State
from inferencehub.gateway.jobs.store import (
    CANCELLED,
    LOST,
    ONCE,
    WAITED_TOO_LONG,
    Attempt,
    Waiting,
    gone,
    no_job,
    not_to_retry,
    too_many,
)
from inferencehub.gateway.jobs.valkey.batches import ValkeyBatches, check_said
from inferencehub.gateway.jobs.valkey.files import ValkeyFiles
from inferencehub.gateway.jobs.valkey.quotas import ValkeyQuotas
from inferencehub.gateway.jobs.valkey.rows import claim_of, fields_of, name, new_record, record_of, there
from inferencehub.gateway.jobs.valkey.server import UNKNOWN, Server
from inferencehub.gateway.jobs.valkey.webhooks import ValkeyWebhooks
from inferencehub.gateway.jobs.valkey.wishes import ValkeyWishes

MOST_OVER = 1000  # that the script forgets at a time
MOST_RENEWED = 1000  # attempts of a step: a script takes 8,000 arguments


class ValkeyStore:
    """See the module's text; a `Store`.

    Args:
        url: of the server, see `Server`.
        most: jobs that may wait.
        prefix: the beginning of all keys; the part in braces keeps them on one server of a cluster.
        authorities: file with those that sign its certificate; "" for those of the system.
        files_bytes: of the files of an owner.
    """

    def __init__(
        self,
        url: str,
        most: int,
        prefix: str = "{inferencehub}:",
        authorities: str = "",
        files_bytes: int = MOST_BYTES,
    ) -> None:
        self.durability = UNKNOWN
        self._most = most
        self._server = Server(url, prefix, authorities)
        self.batches = ValkeyBatches(self._server, most)
        self.quotas = ValkeyQuotas(self._server)
        self.wishes = ValkeyWishes(self._server)
        self.webhooks = ValkeyWebhooks(self._server)
        self.files = ValkeyFiles(self._server, files_bytes)
        self._unsure: list[str] = []  # claims that got no answer

    async def start(self) -> None:
        """See `Store`."""
        self.durability = await self._server.open()

    async def stop(self) -> None:
        """See `Store`."""
        with suppress(HubError):  # the leases end
            await self._take_back()
        await self._server.close()

    async def add(self, job: NewJob) -> JobRecord:
        """See `Store`."""
        job = await packed_job(job)
        owner, key = name(job.owner), name(job.key)
        kept = new_record(job)
        times = (job.created, job.not_before, kept.expires or 0.0)
        place = (name(job.lane), job.priority, *times)
        step = ("add", self._most, job.created, owner, key, job.digest, job.id, job.request, *place)
        said, *found = await self._server.do(*step, *fields_of(job))
        check_said(said, found, job, self._most)
        return record_of(found) if found else kept

    async def claim(self, places: Mapping[str, Place], lease_s: float, now: float) -> list[Claim]:
        """See `Store`. The server may have done, or may do later, what it gave no answer to: that is taken back first."""
        await self._take_back()
        flat = [part for lane, (rows, once) in places.items() for part in (name(lane), rows, int(once))]
        claim = token_hex(8)
        try:
            rows = await self._server.do("claim", claim, now + lease_s, now, *flat)
        except BaseException:
            self._unsure.append(claim)
            raise
        return await unpacked_claims(await self._fitting([claim_of(row) for row in rows], now))

    async def renew(self, attempts: Sequence[Attempt], lease_s: float, now: float) -> set[Attempt]:
        """See `Store`."""
        held: set[Attempt] = set()
        for at in range(0, len(attempts), MOST_RENEWED):
            flat = [part for attempt in attempts[at : at + MOST_RENEWED] for part in attempt]
            found = iter(await self._server.do("renew", now + lease_s, *flat))
            held |= {(id.decode(), int(attempt)) for id, attempt in zip(found, found, strict=True)}
        return held

    async def finish(
        self, id: str, attempt: int, state: State, error: str, result: Result, now: float
    ) -> bool:
        """See `Store`."""
        kept = await packed_result(result)
        answer = (kept.status, kept.lines, kept.body, kept.streamed)
        return bool(await self._server.do("finish", now, id, attempt, state.value, error, *answer))

    async def put_back(
        self, id: str, attempt: int, not_before: float, lost: int, refused: int, now: float
    ) -> None:
        """See `Store`."""
        await self._server.do("put_back", now, id, attempt, not_before, lost, refused, LOST)

    async def tell(self, id: str, attempt: int, at: int, data: bytes, progress: float | None) -> int:
        """See `Store`."""
        said = "" if progress is None else progress
        return int(await self._server.do("tell", id, attempt, at, data, said))

    async def told(self, owner: str, id: str, attempt: int, after: int, most: int) -> bytes:
        """See `Store`."""
        found = await self._server.do("told", name(owner), id, attempt, after, most)
        if not found:
            raise no_job(id)
        return bytes(found[0])

    async def job(self, owner: str, id: str) -> JobRecord:
        """See `Store`."""
        return there(id, await self._server.do("job", name(owner), id))

    async def result(self, owner: str, id: str) -> Result:
        """See `Store`."""
        found = await self._server.do("result", name(owner), id)
        record = there(id, found and found[0])
        lines, body = found[1]
        if lines is None:
            raise gone(record)
        return await unpacked_result(Result(record.status, lines, body))

    async def listed(self, owner: str, state: str, model: str, most: int, before: str) -> list[JobRecord]:
        """See `Store`."""
        found: list[JobRecord] = []
        while True:
            step = ("listed", name(owner), state, model, most - len(found), before)
            last, rows = await self._server.do(*step)
            found += map(record_of, rows)
            if not last or len(found) == most:
                return found
            before = last.decode()

    async def cancel(self, owner: str, id: str, now: float) -> JobRecord:
        """See `Store`."""
        return there(id, await self._server.do("cancel", now, name(owner), id, CANCELLED))

    async def retry(self, owner: str, id: str, now: float) -> JobRecord:
        """See `Store`."""
        found = await self._server.do("retry", self._most, now, name(owner), id)
        record = there(id, found and found[1:])
        if found[0] == b"full":
            raise too_many(self._most)
        if found[0] == b"no":
            raise not_to_retry(record)
        return record

    async def delete(self, owner: str, id: str) -> None:
        """See `Store`."""
        if not await self._server.do("delete", name(owner), id):
            raise no_job(id)

    async def sweep(self, now: float) -> int:
        """See `Store`."""
        lost, over = await self._server.do("sweep", now, LOST, ONCE, WAITED_TOO_LONG)
        while over >= MOST_OVER:
            _, over = await self._server.do("sweep", now, LOST, ONCE, WAITED_TOO_LONG)
        await self.batches.sweep(now)
        if self.durability == UNKNOWN:  # it was not there at the start
            self.durability = await self._server.open()
        return int(lost)

    async def _fitting(self, claims: list[Claim], now: float) -> list[Claim]:
        """Those claims whose requests fit into memory; the others wait again."""
        most = fitting(claims)
        for one in claims[most:]:
            await self.put_back(one.id, one.attempt, now, 0, 0, now)
        return claims[:most]

    async def _take_back(self) -> None:
        """Let what claims without an answer have taken wait again: nobody runs it, so nothing was lost."""
        while self._unsure:
            await self._server.do("unclaim", time(), self._unsure[0])
            del self._unsure[0]

    async def waiting(self, now: float) -> dict[str, Waiting]:
        """See `Store`."""
        rows = await self._server.do("waiting", now)
        return {unquote(lane.decode()): Waiting(int(jobs), float(oldest)) for lane, jobs, oldest in rows}

    async def condition(self) -> Condition:
        """See `Store`."""
        return await self._server.condition()
