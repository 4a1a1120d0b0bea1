"""What calls take of quotas of a day: all leases of this gateway, and how they are renewed beside the calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count, islice
from secrets import token_hex
from time import time
from typing import NamedTuple

from inferencehub.core.process.tasks import cancelled
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.calls.limits.lease import WAIT_S, Awaited, Lease
from inferencehub.gateway.calls.limits.meters import Metered
from inferencehub.gateway.calls.limits.quota_metrics import QuotaMetrics
from inferencehub.gateway.calls.limits.quotas import DAY_S, Ask, Quota, Quotas, next_day, written

logger = logging.getLogger(__name__)

MOST_LEASES = 10_000
LOOKED_AT = 100  # leases among which one without an ask is looked for
IDLE_S = 60.0  # after which a lease that nobody uses is given back


class Grant(NamedTuple):
    """What a call has taken of a quota."""

    lease: Lease
    day: int
    amount: int

    def give_back(self) -> None:
        """The call is refused."""
        self.lease.give_back(self.day, self.amount)


class Standing(NamedTuple):
    """How a quota stands today.

    Args:
        of: whose it is: "key" or "tenant".
        unit: "calls" or "rows".
        quota: of a day.
        used: of it; None where the store can't be asked.
        begins_anew: when the day ends, in UTC.
    """

    of: str
    unit: str
    quota: int
    used: int | None
    begins_anew: str


class Leases:
    """See the module's text.

    Args:
        quotas: the store that counts for all gateways.
        fails_open: whether calls are granted while it can't be asked; what they take is settled later.
        clock: Unix time.
        idle_s: see `IDLE_S`.
    """

    def __init__(
        self, quotas: Quotas, fails_open: bool, clock: Callable[[], float] = time, idle_s: float = IDLE_S
    ) -> None:
        self._quotas = quotas
        self._fails_open = fails_open
        self._clock = clock
        self._idle_s = idle_s
        self._holder, self._numbers = token_hex(6), count(1)
        self._leases: dict[tuple[str, str, str], Lease] = {}  # by what `Quota` has
        self.metrics = QuotaMetrics(self._leases, clock)
        self._asks: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.Task[None] | None = None
        self._down = False

    def start(self) -> None:
        """Give back, from now on, what is not used."""
        self._tidying = asyncio.get_running_loop().create_task(self._tidy())

    async def stop(self) -> None:
        """Give back all that is left. Nobody takes anything any more."""
        if self._tidying is not None:
            await cancelled([self._tidying])
        while self._asks:
            await asyncio.wait(self._asks)
        for _ in range(2):  # the first time may only repeat an ask that had no answer
            for lease in self._leases.values():
                if lease.left or lease.owed or lease.unsure is not None:
                    self._ask(lease, back=True)
            while self._asks:
                await asyncio.wait(self._asks)

    def take(self, metered: Sequence[Metered], calls: int, rows: int) -> tuple[Grant, ...]:
        """Take from all quotas of a call, or from none.

        Args:
            metered: the limits that count it.
            calls, rows: how many it has.

        Raises:
            HubError: BUSY if a quota is used up, TOO_LARGE if it is smaller, NOT_READY if the store can't be asked.
            Awaited: if the store has to be asked first.
        """
        now = self._clock()
        wanted = self._wanted(metered, calls, rows, int(now) // DAY_S)
        for lease, _, amount in wanted:
            try:
                self._require(lease, amount, now)
            except Awaited:
                lease.expect(amount)
                self._ask(lease)  # in the loop's next pass: it is for all who wait by then
                raise
        for lease, _, amount in wanted:
            lease.take(amount)
            if lease.left < lease.low and lease.may_ask:
                self._ask(lease)
        return tuple(wanted)

    def check(self, metered: Sequence[Metered], calls: int = 1, rows: int = 1) -> None:
        """Refuse what a quota is known not to have. Nothing is taken, and the store is not asked.

        Args:
            metered, calls, rows: as `take`.

        Raises:
            HubError: as `take`.
        """
        now = self._clock()
        for lease, _, amount in self._wanted(metered, calls, rows, int(now) // DAY_S):
            with suppress(Awaited):
                self._require(lease, amount, now)

    def _require(self, lease: Lease, amount: int, now: float) -> None:
        try:
            lease.require(amount, now)
        except HubError as error:
            self.metrics.refused(lease, error.kind)
            raise

    def _wanted(self, metered: Sequence[Metered], calls: int, rows: int, day: int) -> list[Grant]:
        wanted = []
        for one in metered:
            limits = one.limits
            if limits.calls_per_day is not None:
                wanted.append(Grant(self._lease(one, "calls", limits.calls_per_day, day), day, calls))
            if limits.rows_per_day is not None:
                wanted.append(Grant(self._lease(one, "rows", limits.rows_per_day, day), day, rows))
        return wanted

    def _lease(self, one: Metered, unit: str, most: int, day: int) -> Lease:
        key = (one.kind, one.who, unit)
        lease = self._leases.pop(key, None)
        if lease is None:
            if len(self._leases) >= MOST_LEASES:
                self._make_room()
            lease = Lease(Quota(*key), self._fails_open, one.owner)
            self.metrics.begin(lease)
        self._leases[key] = lease  # behind all others
        if lease.day != day:
            lease.begin(day)
        lowered, lease.most = most < lease.most, most
        if lease.left and (lowered or lease.used > most) and lease.may_ask:
            self._ask(lease, back=True)  # the block may be more than is left of the quota now
        return lease

    def _make_room(self) -> None:
        oldest = list(islice(self._leases.items(), LOOKED_AT))
        key, lease = next((one for one in oldest if not one[1].asking), oldest[0])
        del self._leases[key]
        self._ask(lease, back=True)

    def _ask(self, lease: Lease, back: bool = False) -> None:
        if not lease.asking:
            lease.asking = True
            lease.answered.clear()
            ask = self._next_ask(lease, back=True) if back else None  # at once: nobody takes it any more
            task = asyncio.get_running_loop().create_task(self._asked(lease, ask))
            self._asks.add(task)
            task.add_done_callback(self._asks.discard)

    def _next_ask(self, lease: Lease, back: bool) -> Ask:
        return lease.next_ask(self._holder, next(self._numbers), back)

    async def _asked(self, lease: Lease, ask: Ask | None) -> None:
        ask = ask or self._next_ask(lease, back=False)
        late = asyncio.get_running_loop().call_later(WAIT_S, lease.late)
        answer = None
        try:
            answer = await self._quotas.lease(ask)
            self._down = False
        except HubError as error:
            if not self._down:
                self._down = True
                extra = {"granted": self._fails_open, "error": error.detail}
                logger.warning("quotas cannot be counted", extra=extra)
        finally:
            late.cancel()
            self.metrics.asked(answer is not None)
            lease.ended(ask, answer)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(self._idle_s)
            today = int(self._clock()) // DAY_S
            for key, lease in list(self._leases.items()):
                moved, lease.moved = lease.moved, False
                if lease.asking or (moved and lease.day == today):
                    continue
                if lease.day == today and (lease.left or lease.owed or lease.unsure is not None):
                    self._ask(lease, back=True)
                else:
                    del self._leases[key]

    async def seen(self, metered: Sequence[Metered]) -> list[Standing]:
        """How quotas stand; what other gateways have leased counts as used.

        Args:
            metered: limits that have some.
        """
        now = self._clock()
        day, found = int(now) // DAY_S, []
        for lease, *_ in self._wanted(metered, 0, 0, day):
            used = None
            with suppress(HubError):
                used = await self._quotas.used(lease.quota.name, day) + lease.owed - lease.left
            kind, _, unit = lease.quota
            begins = written(next_day(now))
            found.append(Standing(kind, unit, lease.most, used, begins))
        return found
