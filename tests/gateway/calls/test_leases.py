"""Leases of quotas: how seldom the store is asked, what goes back, days that end, and stores that do not answer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex
from time import monotonic

import pytest
import pytest_asyncio

from inferencehub.core.auth.limits import LimitReached, Limits
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.limits.lease import Awaited, Lease
from inferencehub.gateway.calls.limits.leases import MOST_LEASES, Grant, Leases
from inferencehub.gateway.calls.limits.meters import Meter, Metered
from inferencehub.gateway.calls.limits.quotas import DAY_S, Answer, Ask, Quota, Quotas
from inferencehub.gateway.jobs.sqlite.store import SqliteStore
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from tests.gateway.quota_hub import comes
from tests.hub import eventually
from tests.valkey import Valkey

DAY = 20_000


class Asked:
    """Quotas that note what is asked, and may lose answers: what was asked is done all the same."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self.asks: list[Ask] = []
        self.lost = 0  # answers to lose

    async def lease(self, ask: Ask) -> Answer:
        self.asks.append(ask)
        answer = await self._quotas.lease(ask)
        if self.lost:
            self.lost -= 1
            raise HubError(Kind.NOT_READY, "the answer was lost")
        return answer

    async def used(self, quota: str, day: int) -> int:
        return await self._quotas.used(quota, day)


class Clock:
    """A clock that a test sets, in days."""

    def __init__(self) -> None:
        self.day = DAY + 0.5

    def __call__(self) -> float:
        return self.day * DAY_S


@pytest_asyncio.fixture
async def quotas(tmp_path: Path) -> AsyncIterator[Asked]:
    store = SqliteStore(str(tmp_path / "jobs.db"), 10)
    await store.start()
    yield Asked(store.quotas)
    await store.stop()


def key(most: int, rows: int | None = None, who: str = "key 'a'") -> list[Metered]:
    limits = Limits(calls_per_day=most, rows_per_day=rows, daily=True)
    return [Metered("key", who, limits, Meter())]


async def taken(leases: Leases, metered: list[Metered], calls: int = 1, rows: int = 1) -> tuple[Grant, ...]:
    """What `take` gives, once it need not be waited for."""
    while True:
        try:
            return leases.take(metered, calls, rows)
        except Awaited as awaited:
            await awaited.then(monotonic() + 30.0, None)


async def refused(leases: Leases, metered: list[Metered], calls: int = 1, rows: int = 1) -> Kind:
    with pytest.raises(HubError) as caught:
        await taken(leases, metered, calls, rows)
    return caught.value.kind


@pytest.mark.long
async def test_the_store_is_asked_before_a_block_is_used_and_seldom(quotas: Asked) -> None:
    leases, metered, waits, granted = Leases(quotas, False, Clock()), key(10_000), 0, 0
    for _ in range(9000):
        try:
            leases.take(metered, 1, 1)
        except Awaited:
            waits += 1
            await taken(leases, metered)
        if leases._asks:
            await eventually(lambda: not leases._asks)
        granted += 1
    assert waits == 1, "only the first call"
    assert len(quotas.asks) < 500
    while await maybe(leases, metered) is not None:
        granted += 1
    assert granted == await quotas.used("key:key 'a':calls", DAY) == 10_000
    assert len(quotas.asks) < 900, "near the end each call may ask for itself"
    await leases.stop()


async def maybe(leases: Leases, metered: list[Metered]) -> tuple[Grant, ...] | None:
    try:
        return await taken(leases, metered)
    except LimitReached:
        return None


async def test_those_who_wait_share_an_ask(quotas: Asked) -> None:
    leases, metered = Leases(quotas, False, Clock()), key(50)
    await asyncio.gather(*[taken(leases, metered) for _ in range(40)])
    assert len(quotas.asks) == 1
    found = await asyncio.gather(*[maybe(leases, metered) for _ in range(40)])
    assert sum(one is not None for one in found) == 10
    assert await quotas.used("key:key 'a':calls", DAY) == 50
    await leases.stop()


async def test_all_quotas_of_a_call_or_none(quotas: Asked) -> None:
    leases, metered = Leases(quotas, False, Clock()), key(5, rows=8)
    calls, rows = await taken(leases, metered, rows=6)
    assert await refused(leases, metered, rows=3) is Kind.BUSY
    assert await refused(leases, metered, rows=9) is Kind.TOO_LARGE
    rows.give_back()
    await taken(leases, metered, rows=8)
    assert await refused(leases, metered, rows=1) is Kind.BUSY
    await leases.stop()
    assert await quotas.used("key:key 'a':calls", DAY) == 2
    assert await quotas.used("key:key 'a':rows", DAY) == 8
    assert calls.amount == 1


async def test_one_who_is_key_and_tenant_has_two_quotas(quotas: Asked) -> None:
    leases, metered = Leases(quotas, False, Clock()), key(4)
    metered += [Metered("tenant", metered[0].who, metered[0].limits, Meter())]
    for _ in range(4):
        await taken(leases, metered)
    assert await refused(leases, metered) is Kind.BUSY
    await leases.stop()
    assert await quotas.used("key:key 'a':calls", DAY) == await quotas.used("tenant:key 'a':calls", DAY) == 4


async def test_what_no_call_fits_into_stays_at_the_store(quotas: Asked) -> None:
    one, other = Leases(quotas, False, Clock()), Leases(quotas, False, Clock())
    metered = key(100, rows=10)
    await taken(one, metered, rows=4)
    assert await refused(other, metered, rows=7) is Kind.BUSY, "which asks, and gets nothing"
    await taken(one, metered, rows=6)


async def test_a_day_begins_with_the_whole_quota(quotas: Asked) -> None:
    clock = Clock()
    leases, metered = Leases(quotas, False, clock), key(3)
    grants = [await taken(leases, metered) for _ in range(3)]
    assert await refused(leases, metered) is Kind.BUSY
    clock.day = DAY + 0.999_999
    assert await refused(leases, metered) is Kind.BUSY
    with pytest.raises(LimitReached) as caught:
        leases.check(metered)
    assert caught.value.retry_after == 1, "the day ends then"
    clock.day = DAY + 1
    leases.check(metered)
    await taken(leases, metered)
    grants[0][0].give_back()  # of yesterday
    for _ in range(2):
        await taken(leases, metered)
    assert await refused(leases, metered) is Kind.BUSY
    await leases.stop()


async def test_the_end_of_a_day_is_no_gift_of_what_was_asked_for_before(quotas: Asked) -> None:
    clock = Clock()
    leases, metered = Leases(quotas, False, clock), key(3)
    with pytest.raises(Awaited):
        leases.take(metered, 3, 1)
    await asyncio.sleep(0)  # the ask is on its way
    assert [ask.day for ask in quotas.asks] == [DAY]
    clock.day = DAY + 1
    assert await maybe(leases, metered) is not None
    await asyncio.gather(*[maybe(leases, metered) for _ in range(5)])
    assert await quotas.used("key:key 'a':calls", DAY + 1) == 3
    await leases.stop()


@pytest.mark.parametrize("answer", [Answer(1, 1), None])
def test_nobody_waits_for_a_late_ask_of_the_day_before(answer: Answer | None) -> None:
    lease = Lease(Quota("key", "key 'a'", "calls"), False)
    lease.begin(DAY)
    lease.most, lease.asking = 5, True
    lease.expect(1)
    ask = lease.next_ask("gateway", 1, False)
    lease.late()
    lease.begin(DAY + 1)
    assert kind_of(lease) is Kind.NOT_READY, "the event is set, so those who wait would come again at once"
    lease.ended(ask, answer)
    assert kind_of(lease) is (Kind.NOT_READY if answer is None else None)
    assert (lease.left, lease.used) == (0, 0)


def kind_of(lease: Lease) -> Kind | None:
    """Why a lease refuses a call; None if the store is to be asked."""
    with pytest.raises((HubError, Awaited)) as caught:
        lease.require(1, (DAY + 1) * DAY_S)
    return caught.value.kind if isinstance(caught.value, HubError) else None


async def test_an_answer_that_is_lost_costs_nothing(quotas: Asked) -> None:
    leases, metered = Leases(quotas, False, Clock()), key(1000)
    quotas.lost = 1
    assert await refused(leases, metered) is Kind.NOT_READY
    await comes(lambda: granted_one(leases, metered))
    assert len({ask.number for ask in quotas.asks}) == 1
    await leases.stop()
    assert await quotas.used("key:key 'a':calls", DAY) == 1


async def test_an_answer_that_is_lost_last_is_asked_for_at_the_end(quotas: Asked) -> None:
    leases, metered = Leases(quotas, False, Clock()), key(1000)
    quotas.lost = 1
    assert await refused(leases, metered) is Kind.NOT_READY
    await leases.stop()
    assert await quotas.used("key:key 'a':calls", DAY) == 0


async def granted_one(leases: Leases, metered: list[Metered]) -> bool:
    """Whether a call is granted; if not, the store can't be asked."""
    try:
        await taken(leases, metered)
    except HubError as error:
        if error.kind is not Kind.NOT_READY:
            raise
        return False
    return True


async def test_what_is_not_used_goes_back(quotas: Asked) -> None:
    leases, metered = Leases(quotas, False, Clock(), idle_s=0.05), key(1000)
    leases.start()
    await taken(leases, metered)
    assert await quotas.used("key:key 'a':calls", DAY) > 1
    await eventually(lambda: not leases._leases)
    assert await quotas.used("key:key 'a':calls", DAY) == 1
    await taken(leases, metered)
    await leases.stop()
    assert await quotas.used("key:key 'a':calls", DAY) == 2


async def test_a_quota_that_is_lowered_holds_at_once(quotas: Asked) -> None:
    one, other = Leases(quotas, False, Clock()), Leases(quotas, False, Clock())
    await taken(one, key(1000))
    await taken(other, key(1000), calls=50)
    assert await quotas.used("key:key 'a':calls", DAY) > 51, "both have a block"
    assert await refused(one, key(52)) is Kind.BUSY, "the other's block counts as used"
    await taken(other, key(52))
    assert await refused(other, key(52)) is Kind.BUSY
    assert await quotas.used("key:key 'a':calls", DAY) == 52
    await taken(one, key(1000))
    await other.stop()
    await one.stop()
    assert await quotas.used("key:key 'a':calls", DAY) == 53


async def test_a_lease_that_is_forgotten_begins_with_no_answer_of_before(quotas: Asked) -> None:
    leases, metered = Leases(quotas, False, Clock(), idle_s=0.02), key(3)
    leases.start()
    for _ in range(3):
        await taken(leases, metered)
        await eventually(lambda: not leases._leases)
    assert await refused(leases, metered) is Kind.BUSY
    await leases.stop()


@pytest.mark.long
async def test_the_number_of_leases_is_bounded(quotas: Asked) -> None:
    leases = Leases(quotas, False, Clock())
    for number in range(MOST_LEASES + 5):
        with pytest.raises(Awaited):
            leases.take(key(1000, who=f"key '{number}'"), 1, 1)
        if number % 500 == 0:
            await eventually(lambda: not leases._asks)
    assert len(leases._leases) == MOST_LEASES
    await leases.stop()
    for number in (0, 1, MOST_LEASES):
        assert await quotas.used(f"key:key '{number}':calls", DAY) == 0


@pytest.mark.long
@pytest.mark.timing
@pytest.mark.parametrize("fails_open", [False, True])
async def test_nobody_waits_long_for_a_store_that_stands_still(valkey: Valkey, fails_open: bool) -> None:
    store = ValkeyStore(valkey.url, 10, prefix=f"{{{token_hex(4)}}}:")
    await store.start()
    leases, metered = Leases(store.quotas, fails_open, Clock()), key(10)
    await taken(leases, metered)
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    began, found = monotonic(), []
    for _ in range(9):
        found.append(await granted_one(leases, metered))
    assert monotonic() - began < 4.0, "one wait, and none while the ask goes on"
    assert found == [fails_open] * 9
    valkey.process.send_signal(signal.SIGCONT)
    await eventually(lambda: not leases._asks)
    if fails_open:
        assert await refused(leases, metered) is Kind.BUSY
    else:
        await comes(lambda: granted_one(leases, metered))
    await leases.stop()
    assert await store.quotas.used("key:key 'a':calls", DAY) == (10 if fails_open else 2)
    await store.stop()
