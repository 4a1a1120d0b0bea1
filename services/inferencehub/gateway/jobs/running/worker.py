"""Runs jobs: takes them from the store as places become free, renews their leases, and puts their results back.

A gateway takes no more jobs than its lanes have free places. Where calls use them, a batch of jobs waits in the lane for what
calls leave, so that jobs do not starve (`core/lane/queues/background.py`). All others wait in the store, for any gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic, time

from inferencehub.core.process.tasks import cancelled, until
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.jobs.batch import batch_of, is_batch
from inferencehub.gateway.jobs.record import Claim, Result, State, model_of
from inferencehub.gateway.jobs.running.attempt import Attempts, Outcome, Run, Running
from inferencehub.gateway.jobs.running.backlog import Backlog
from inferencehub.gateway.jobs.running.places import begin_waiting, free_places
from inferencehub.gateway.jobs.running.telling import Telling
from inferencehub.gateway.jobs.store import ONCE, Store, Waiting
from inferencehub.gateway.routing.table import RoutingTable

logger = logging.getLogger(__name__)

LEASE_S, RENEW_S = 30.0, 10.0
LOOK_S = 0.5  # between two questions whether other gateways' jobs, or later ones, may run
SWEEP_S = 1.0
KNOWN_S = 60.0  # how long what waited counts as demand while the store does not answer
REST_S = 1.0  # how long nothing is taken for a lane that has refused a job
BACKOFF_S = (1.0, 5.0, 25.0)  # of a job after attempts in which nothing ran; behind them it fails


class Worker:
    """See the module's text.

    Args:
        store: the jobs.
        table: the lanes.
        run: runs an attempt.
        backlog: is told how long jobs run.
    """

    def __init__(self, store: Store, table: RoutingTable, run: Run, backlog: Backlog) -> None:
        self.store = store
        self.table = table
        self._run = run
        self._backlog = backlog
        self.waiting: dict[str, Waiting] = {}  # by lane, at the last look
        self.ended: Counter[tuple[str, str]] = Counter()  # attempts' ends that were kept, by model and state
        self.put_back: Counter[tuple[str, str]] = Counter()  # to be made again, by model and reason
        self.leases_lost = 0
        self.changed: Callable[[str], None] = lambda id: None  # called when a job has ended here
        self.moved: Callable[[str], None] = lambda id: (
            None
        )  # called when one has begun here, or has told something
        self.running = Attempts()
        # Lanes that have refused a job, and until when nothing is taken for them.
        self._rests: dict[str, float] = {}
        self._failing = False  # whether the store's failure was told
        self._ending = False
        self._wake = asyncio.Event()
        self._renewing, self._renewed = asyncio.Lock(), time()
        self._tasks: list[asyncio.Task[None]] = []
        self._finishing: set[asyncio.Task[None]] = set()

    @property
    def store_works(self) -> bool:
        """Whether the store has answered the last time."""
        return not self._failing

    def start(self) -> None:
        """Run jobs from now on."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work()) for work in (self._take, self._keep, self._hold)]

    def wake(self) -> None:
        """There may be something to run."""
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """Take no more jobs, put back those that do not run, and after at most `grace_s` seconds the others."""
        taking, *keeping = self._tasks
        self._ending = True
        self.wake()
        await taking  # what it is about to take, it takes: nobody else would know of it
        waiting = [one for one in self.running.all() if not (one.ended or one.has_run())]
        await asyncio.gather(*[self._give_back(one) for one in waiting])
        await until(self.running.none, grace_s)
        await asyncio.gather(*[self._give_back(one) for one in self.running.all()])
        await asyncio.gather(*self._finishing)
        await cancelled(keeping)

    def leave(self, id: str) -> None:
        """A job or a batch was cancelled: stop what of it runs here."""
        ran = self.running.all() if is_batch(id) else self.running.of(id)
        for one in ran:
            if id in (one.claim.id, batch_of(one.claim.id)):
                self.running.drop(one)

    async def _take(self) -> None:
        while not self._ending:
            self._wake.clear()
            claims: list[Claim] = []
            try:
                begin_waiting(self.table)
                places = free_places(self.table, self.running, self._rests)
                if places:
                    claims = await self.store.claim(places, LEASE_S, time())
                self._works()
            except HubError as error:
                self._fails(error)
            except Exception:
                logger.exception("no jobs taken")
            for claim in claims:
                self._begin(claim)
            if not claims:
                await until(self._wake, LOOK_S)

    def _begin(self, claim: Claim) -> None:
        for older in self.running.of(claim.id):  # it was taken back from us while we were held up
            self.running.drop(older)
        one = Running(claim, Telling(self.store, claim.id, claim.attempt, self.moved))
        self.running.add(one)
        self.moved(claim.id)
        try:
            self._run(one, lambda outcome: self._end(one, outcome))
        except Exception:
            logger.exception("job not run", extra={"job": claim.id})
            text = "the gateway failed on this job; its log says why"
            self._end(one, Outcome(Result(0, b"", b""), text, refused=False, ran=True, lost=0))

    def _end(self, one: Running, outcome: Outcome) -> None:
        if one not in self.running:  # it was left
            return
        one.telling.close()
        one.ended = True
        task = asyncio.get_running_loop().create_task(self._finish(one, outcome))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, one: Running, outcome: Outcome) -> None:
        """Put an outcome into the store. While the store does not answer, it is held: the lease may hold as long."""
        claim = one.claim
        if outcome.slot_s:
            self._backlog.ran(claim.lane, outcome.slot_s)
        while one in self.running:
            try:
                await self._put(claim, outcome)
                break
            except HubError as error:
                self._fails(error)
                await asyncio.sleep(LOOK_S)
            except Exception:  # its lease ends
                logger.exception("result not kept", extra={"job": claim.id})
                break
        self.running.remove(one)
        self.changed(claim.id)
        self.wake()

    async def _put(self, claim: Claim, outcome: Outcome) -> None:
        """Keep a result, or let the job wait again."""
        now = time()
        if outcome.refused and not outcome.lost:
            self._rests[claim.lane] = monotonic() + REST_S
        again = outcome.refused and not (claim.once and outcome.ran)
        counts = not outcome.busy and not outcome.lost  # as an attempt in which nothing ran
        if again and (not counts or claim.refusals < len(BACKOFF_S)):
            later = now + (BACKOFF_S[claim.refusals] if counts else 0.0)
            await self.store.put_back(claim.id, claim.attempt, later, outcome.lost, int(counts), now)
            reason = "lost" if outcome.lost else "busy" if outcome.busy else "refused"
            self.put_back[model_of(claim.lane), reason] += 1
            return
        state = State.FAILED if outcome.error else State.SUCCEEDED
        if await self.store.finish(claim.id, claim.attempt, state, outcome.error, outcome.result, now):
            self.ended[model_of(claim.lane), state.value] += 1

    async def _give_back(self, one: Running) -> None:
        """The process ends: the job runs elsewhere, or again here."""
        ran = one.has_run()
        self.running.drop(one)
        claim, now = one.claim, time()
        try:
            if claim.once and ran:
                nothing = Result(0, b"", b"")
                await self.store.finish(claim.id, claim.attempt, State.FAILED, ONCE, nothing, now)
            else:
                await self.store.put_back(claim.id, claim.attempt, now, 0, 0, now)
        except HubError as error:  # its lease ends
            self._fails(error)

    async def _keep(self) -> None:
        """Renew leases, then take back those of gateways that were lost, and see what waits."""
        seen = monotonic()
        while True:
            try:
                await self._renew()
                self.leases_lost += await self.store.sweep(time())
                self.waiting, seen = await self.store.waiting(time()), monotonic()
                self._works()
            except HubError as error:
                self._fails(error)
            except Exception:
                logger.exception("jobs not looked after")
            if monotonic() - seen > KNOWN_S:
                self.waiting = {}
            await asyncio.sleep(SWEEP_S)

    async def _hold(self) -> None:
        """Renew leases also while a sweep takes its time."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._renew()
            except HubError as error:
                self._fails(error)
            except Exception:
                logger.exception("leases not renewed")

    async def _renew(self) -> None:
        """Renew leases, if that is due by their clock, which goes on while the machine sleeps."""
        async with self._renewing:
            if abs(time() - self._renewed) < RENEW_S:
                return
            attempts = {(one.claim.id, one.claim.attempt): one for one in self.running.all()}
            held = await self.store.renew(list(attempts), LEASE_S, time()) if attempts else set()
            for attempt, one in attempts.items():
                if attempt not in held:
                    self.running.drop(one)
            self._renewed = time()

    def _fails(self, error: HubError) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("no jobs run: their store fails", extra={"error": error.detail})

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            logger.info("the store of jobs works again")
