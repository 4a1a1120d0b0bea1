"""Runs jobs: takes them from the store as places become free, renews their leases, and puts their results back.

A gateway takes no more jobs of a model than its lanes have free places, so that calls find the lanes as empty as without
jobs. If calls leave no place free for long, one job of a model runs all the same: jobs do not starve.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import NamedTuple, Protocol

from inferencehub.core.process.tasks import cancelled, until
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.jobs.record import Claim, Result, State
from inferencehub.gateway.jobs.store import Store, Waiting
from inferencehub.gateway.routing.table import RoutingTable

logger = logging.getLogger(__name__)

LEASE_S, RENEW_S = 30.0, 10.0
LOOK_S = 0.5  # between two questions whether other gateways' jobs, or later ones, may run
SWEEP_S = 1.0
MOST_REFUSALS = 3  # attempts in which nothing ran
BACKOFF_S = (1.0, 5.0, 25.0)


class Outcome(NamedTuple):
    """How an attempt ended.

    Args:
        result: what a call would have been answered.
        error: why it failed; "" if it did not.
        refused: whether nothing ran, so that it may be tried again later.
        lost: pods that were lost with it.
    """

    result: Result
    error: str
    refused: bool
    lost: int


class Run(Protocol):
    """Runs an attempt; a front does that."""

    def __call__(self, claim: Claim, ended: Callable[[Outcome], None]) -> Callable[[], None]:
        """Begin to run an attempt. `ended` gets its outcome, once. What it returns stops the attempt."""


class Worker:
    """See the module's text.

    Args:
        store: the jobs.
        table: the lanes.
        run: runs an attempt.
    """

    def __init__(self, store: Store, table: RoutingTable, run: Run) -> None:
        self.store = store
        self.table = table
        self._run = run
        self.waiting: dict[str, Waiting] = {}  # at the last look
        self.ended: Counter[tuple[str, str]] = Counter()  # attempts' ends that were kept, by model and state
        self.leases_lost = 0
        self.changed: Callable[[str], None] = lambda id: None  # called when a job has ended here
        self._running: dict[str, tuple[Claim, Callable[[], None]]] = {}
        self._of_model: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._none = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._finishing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Run jobs from now on."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work()) for work in (self._take, self._renew, self._sweep)]

    def wake(self) -> None:
        """There may be something to run."""
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """Take no more jobs, wait for those that run, at most `grace_s` seconds, and put the others back."""
        taking, *others = self._tasks
        await cancelled([taking])
        self._idle()
        await until(self._none, grace_s)
        for claim, leave in list(self._running.values()):
            self._forget(claim)
            leave()
            now = time()
            await self.store.put_back(claim.id, claim.attempt, now, 0, now)
        await asyncio.gather(*self._finishing)
        await cancelled(others)

    def leave(self, id: str) -> None:
        """A job was cancelled: stop it, if it runs here."""
        if id in self._running:
            claim, leave = self._running[id]
            self._forget(claim)
            leave()

    async def _take(self) -> None:
        while True:
            self._wake.clear()
            began = monotonic()
            try:
                places = self._places()
                claims = await self.store.claim(places, LEASE_S, time()) if places else []
            except HubError as error:
                logger.warning("no jobs taken", extra={"error": error.detail})
                await asyncio.sleep(LOOK_S)
                continue
            for claim in claims:
                self._begin(claim)
            if not claims:
                await until(self._wake, LOOK_S - (monotonic() - began))
            else:
                await asyncio.sleep(0)

    def _places(self) -> dict[str, int]:
        """How many jobs of each model may be taken now."""
        places: dict[str, int] = {}
        for (model, version), lanes in self.table.routes.items():
            if version or not (open := [lane for lane in lanes if lane.open]):
                continue
            free = sum(lane.idle * max(1, lane.lane.queue.max_rows) - lane.lane.queue.rows for lane in open)
            if free <= 0 and not self._of_model[model]:
                free = 1
            if free > 0:
                places[model] = free
        return places

    def _begin(self, claim: Claim) -> None:
        self._of_model[claim.model] += 1
        self._none.clear()
        self._running[claim.id] = claim, lambda: None
        leave = self._run(claim, partial(self._end, claim))
        if claim.id in self._running:
            self._running[claim.id] = claim, leave

    def _end(self, claim: Claim, outcome: Outcome) -> None:
        if claim.id not in self._running:  # it was left
            return
        task = asyncio.get_running_loop().create_task(self._finish(claim, outcome))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, claim: Claim, outcome: Outcome) -> None:
        """Put an outcome into the store. While that fails, the job is held, and tried again until its lease is over."""
        now = time()
        again = outcome.refused and claim.refusals < MOST_REFUSALS and not (claim.once and outcome.lost)
        try:
            while True:
                try:
                    if again:
                        later = now if outcome.lost else now + BACKOFF_S[claim.refusals]
                        await self.store.put_back(claim.id, claim.attempt, later, outcome.lost, now)
                    else:
                        state = State.FAILED if outcome.error else State.SUCCEEDED
                        kept = await self.store.finish(
                            claim.id, claim.attempt, state, outcome.error, outcome.result, now
                        )
                        if kept:
                            self.ended[claim.model, state.value] += 1
                    return
                except HubError as error:
                    logger.warning("result not kept yet", extra={"job": claim.id, "error": error.detail})
                    if time() - now > LEASE_S:
                        return
                    await asyncio.sleep(1)
        finally:
            self._forget(claim)
            self.changed(claim.id)
            self.wake()

    def _forget(self, claim: Claim) -> None:
        if self._running.pop(claim.id, None) is not None:
            self._of_model[claim.model] -= 1
            self._idle()

    def _idle(self) -> None:
        if not self._running:
            self._none.set()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            attempts = [(claim.id, claim.attempt) for claim, _ in self._running.values()]
            try:
                held = await self.store.renew(attempts, LEASE_S, time()) if attempts else set()
            except HubError as error:
                logger.warning("leases not renewed", extra={"error": error.detail})
                continue
            for id, _ in attempts:
                if id not in held:
                    self.leave(id)

    async def _sweep(self) -> None:
        while True:
            try:
                self.leases_lost += await self.store.sweep(time())
                self.waiting = await self.store.waiting(time())
            except HubError as error:
                logger.warning("jobs not looked through", extra={"error": error.detail})
            await asyncio.sleep(SWEEP_S)
