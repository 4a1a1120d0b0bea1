"""Makes a batch of a file: checks its items, keeps them in parts, and lets them run once all are there.

If that is not reached, for whatever reason, nothing is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, time

import msgspec

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.calls.call_limits import CallLimits
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.batches.checks import Checked, Checks
from inferencehub.gateway.http_api.batches.lines import File, Line, read_file
from inferencehub.gateway.jobs.batch import NewItem, item_id
from inferencehub.gateway.jobs.fronts.headers import JobHeaders
from inferencehub.gateway.jobs.fronts.keeping import Admitted, new_job
from inferencehub.gateway.jobs.record import JobRecord, NewJob
from inferencehub.gateway.jobs.submit import Jobs, new_batch_id

logger = logging.getLogger(__name__)

PART_ITEMS, PART_BYTES = 100, 2**20  # that are checked and kept together
SLICE_S = 0.002  # of the event loop, before others have their turn


class Uploads:
    """See the module's text.

    Args:
        jobs: where batches go.
        checks: checks items.
        limits: what callers may use; None if there are no limits.
        budget: the process's budget of bytes.
        threads: read files.
        most_items: of a batch.
    """

    def __init__(
        self,
        jobs: Jobs,
        checks: Checks,
        limits: CallLimits | None,
        budget: ByteBudget,
        threads: ThreadPoolExecutor,
        most_items: int,
    ) -> None:
        self.jobs = jobs
        self._checks = checks
        self._limits = limits
        self._budget = budget
        self._threads = threads
        self._most_items = most_items
        self._leaving: set[asyncio.Task[None]] = set()

    async def make(
        self,
        exchange: Exchange,
        data: bytes,
        said: JobHeaders,
        fields: dict[bytes, bytes],
        read: Callable[[bytes, int], File] = read_file,
        wait_s: float | None = None,
    ) -> JobRecord:
        """Make a batch; if its owner has one with its key already, that is the answer.

        Args:
            exchange: the call that brought the file.
            data: the file.
            said: what the caller says of the batch.
            fields: of the call's head, those that hold for its items.
            read: reads the file, of which so many items are taken; a thread does it. A batch of a file without items has failed.
            wait_s: seconds that items may wait; None for as long as results are kept.

        Raises:
            HubError: BAD_INPUT for a file that can't be read; BUSY if a limit is reached, or the store is full; NOT_READY if
                a model is not served now; all that the store raises.
        """
        target = self.jobs.targets.of(said.webhook) if said.webhook else None
        if self._limits is not None:
            self._limits.check_rows(exchange)
        loop = asyncio.get_running_loop()
        lines, digest, about = await loop.run_in_executor(self._threads, read, data, self._most_items)
        del data
        admitted, digest = Admitted("", len(lines), target), f"{digest} {sorted(fields.items())}"
        job = new_job(self.jobs, exchange, said, admitted, about, digest)
        batch = msgspec.structs.replace(job, id=new_batch_id(), model="")
        same = await self.jobs.store.batches.begin(batch, len(lines))
        if same is not None:
            return same
        sealing = False
        try:
            waiting = batch if wait_s is None else msgspec.structs.replace(batch, keep_s=wait_s)
            rows, items = await self._keep(exchange, waiting, lines, fields)
            if self._limits is not None:
                await self._limits.take_quotas(exchange, items, rows.total())
                self._limits.take_rows(exchange, rows)
            models = sorted(rows)
            only = models[0] if len(models) == 1 else ""
            sealing = True
            record = await self.jobs.store.batches.seal(msgspec.structs.replace(batch, model=only), models)
        except BaseException as error:
            self._abandon(batch.id)
            # Not where the caller has left while it is sealed: the batch may be kept.
            if not sealing or isinstance(error, HubError):
                exchange.give_back_quotas()
            raise
        if record.id != batch.id:
            exchange.give_back_quotas()
        else:
            with suppress(HubError):  # the sweep of the store goes on
                await self.jobs.do_all(batch.id)
                record = await self.jobs.store.job(batch.owner, batch.id)
        self.jobs.worker.wake()
        return record

    async def _keep(
        self, exchange: Exchange, batch: NewJob, lines: Sequence[Line], fields: dict[bytes, bytes]
    ) -> tuple[Counter[str], int]:
        """Check and keep all items; of those that are to run the rows, by model, and how many they are."""
        rows: Counter[str] = Counter()
        number, to_run = 1, 0
        for part in parts(lines):
            size = sum(len(line.body) for line in part)
            self._budget.take(size)
            try:
                found = await self._check(exchange, batch.id, number, part, fields)
                for one in found:
                    if one.refusal is None:
                        rows[one.model] += one.rows
                        to_run += 1
                if self._limits is not None:  # before the work for all others
                    self._limits.check_quotas(exchange, to_run, rows.total())
                items = [
                    item_of(batch, number + place, *one)
                    for place, one in enumerate(zip(part, found, strict=True))
                ]
                await self.jobs.store.batches.put(batch.id, items, time())
            finally:
                self._budget.give(size)
            number += len(part)
        return rows, to_run

    async def _check(
        self, exchange: Exchange, batch: str, number: int, part: Sequence[Line], fields: dict[bytes, bytes]
    ) -> list[Checked]:
        """What comes out for each line of a part.

        Raises:
            HubError: what says nothing of an item; see `Checks`.
        """
        calls = []
        try:
            began = monotonic()
            for place, line in enumerate(part):
                calls.append(self._checks.begin(exchange, item_id(batch, number + place), line, fields))
                if monotonic() - began > SLICE_S:
                    await asyncio.sleep(0)
                    began = monotonic()
            return [await call.checked for call in calls]
        finally:
            for call in calls:
                call.leave()
                if call.checked.done() and not call.checked.cancelled():
                    call.checked.exception()  # the first one is told; the others need not be
                call.checked.cancel()

    def _abandon(self, id: str) -> None:
        """Forget what was kept, whether or not anybody waits for that; else the sweep of the store does it, later."""
        task = asyncio.get_running_loop().create_task(self._forget(id))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _forget(self, id: str) -> None:
        try:
            await self.jobs.store.batches.abandon(id)
            await self.jobs.do_all(id)
        except HubError as error:
            logger.warning("a batch is forgotten later", extra={"job": id, "error": error.detail})


def parts(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Lines in parts of bounded size; one that is larger is a part of its own."""
    part: list[Line] = []
    size = 0
    for line in lines:
        if part and (len(part) == PART_ITEMS or size + len(line.body) > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.body)
    if part:
        yield part


def item_of(batch: NewJob, number: int, line: Line, checked: Checked) -> NewItem:
    """The job of an item."""
    job = msgspec.structs.replace(
        batch,
        id=item_id(batch.id, number),
        model=checked.model,
        version=checked.version,
        rows=checked.rows,
        request=checked.request,
        key="",
        digest="",
        webhook=None,
    )
    return NewItem(job, line.custom_id, checked.error, checked.refusal)
