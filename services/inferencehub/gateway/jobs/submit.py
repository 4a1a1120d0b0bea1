"""Jobs as fronts use them: keep one, wait for its end, cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from time import monotonic, time

from inferencehub.core.process.tasks import until
from inferencehub.gateway.jobs.batch import MARK, batch_of, is_batch, not_alone
from inferencehub.gateway.jobs.record import JobRecord, NewJob
from inferencehub.gateway.jobs.running.worker import Worker
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.webhooks.targets import Targets

LOOK_S = 0.5  # between two questions for a job that another gateway may run


class Jobs:
    """See the module's text.

    Args:
        store: keeps the jobs.
        worker: runs them.
        keep_s: seconds that a job may wait and that its result is kept, if it does not say so itself.
        targets: where webhooks may go.
    """

    def __init__(self, store: Store, worker: Worker, keep_s: float, targets: Targets) -> None:
        self.store = store
        self.targets = targets
        self.keep_s = keep_s
        self.worker = worker
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self.ending = False
        worker.changed, worker.moved = self._changed, self._moved

    async def start(self) -> None:
        """Open the store, and run jobs.

        Raises:
            BadFile: if it can't be used.
        """
        await self.store.start()
        self.worker.start()

    async def stop(self, grace_s: float) -> None:
        """Run no more jobs, wait for those that run, at most `grace_s` seconds, and let nobody wait for others."""
        self.ending = True
        for id in (*self._waiters, *self._watchers):
            self._changed(id)
        await self.worker.stop(grace_s)

    async def submit(self, job: NewJob) -> JobRecord:
        """Keep a job; see `Store.add`."""
        kept = await self.store.add(job)
        self.worker.wake()
        return kept

    async def wait(self, owner: str, id: str, seconds: float) -> JobRecord:
        """How a job stands when it has ended, or after so many seconds, or when this process ends.

        Raises:
            HubError: NOT_FOUND.
        """
        ends = monotonic() + seconds
        with noticed(self._waiters, id) as changed:
            while True:
                changed.clear()
                record = await self.store.job(owner, id)
                left = ends - monotonic()
                if record.state.ended or left <= 0 or self.ending:
                    return record
                await until(changed, min(left, LOOK_S))

    @contextmanager
    def watching(self, id: str) -> Iterator[asyncio.Event]:
        """An event that is set when anything of a job changes here, or this process ends. Other gateways set it not."""
        with noticed(self._watchers, id) as changed:
            yield changed

    async def cancel(self, owner: str, id: str) -> JobRecord:
        """Cancel a job; see `Store.cancel`.

        Raises:
            HubError: CONFLICT for an item of a batch; also by `retry` and `delete`.
        """
        check_whole(id)
        return await asyncio.shield(self._cancel(owner, id))

    async def retry(self, owner: str, id: str) -> JobRecord:
        """Let a job wait again; see `Store.retry`."""
        check_whole(id)
        record = await self.store.retry(owner, id, time())
        if is_batch(id):
            await self.do_all(id)
            record = await self.store.job(owner, id)
        self.worker.wake()
        return record

    async def delete(self, owner: str, id: str) -> None:
        """Forget a job; see `Store.delete`."""
        check_whole(id)
        await asyncio.shield(self._delete(owner, id))

    async def do_all(self, batch: str) -> None:
        """Do with all items of a batch what is to be done; if that fails, the sweep of the store goes on with it."""
        while await self.store.batches.step(batch, time()):
            self.worker.wake()

    async def _cancel(self, owner: str, id: str) -> JobRecord:
        """Also if who asked has left: an attempt that runs here must not run on beside a later one."""
        record = await self.store.cancel(owner, id, time())
        if is_batch(id):
            await self.do_all(id)
            record = await self.store.job(owner, id)
        self.worker.leave(id)
        self._changed(id)
        return record

    async def _delete(self, owner: str, id: str) -> None:
        await self.store.delete(owner, id)
        if is_batch(id):
            await self.do_all(id)
        self.worker.leave(id)
        self._changed(id)

    def _changed(self, id: str) -> None:
        for changed in self._waiters.get(id, ()):
            changed.set()
        self._moved(id)

    def _moved(self, id: str) -> None:
        for changed in self._watchers.get(id, ()):
            changed.set()


@contextmanager
def noticed(by_id: dict[str, set[asyncio.Event]], id: str) -> Iterator[asyncio.Event]:
    """An event that is among those of a job as long as somebody waits for it."""
    changed, events = asyncio.Event(), by_id.setdefault(id, set())
    events.add(changed)
    try:
        yield changed
    finally:
        events.discard(changed)
        if not events:
            by_id.pop(id, None)


def check_whole(id: str) -> None:
    """Check that this is no item of a batch, which ends only with all others.

    Raises:
        HubError: CONFLICT if it is one.
    """
    if batch_of(id):
        raise not_alone(id)


def new_batch_id() -> str:
    """An id of a batch; see `new_id`."""
    return new_id() + MARK


def new_id() -> str:
    """An id that sorts by time, to the millisecond, and that nobody can guess."""
    return f"{int(time() * 1000):012x}{token_hex(10)}"
