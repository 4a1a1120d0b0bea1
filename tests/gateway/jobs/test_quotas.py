"""What each store does with quotas of a day, whatever is behind it."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from inferencehub.gateway.calls.limits.quotas import MOST_BLOCK, Answer, Ask
from inferencehub.gateway.jobs.store import Store

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAY = 20_000
NAME = "key 'ci':calls"


def ask(
    number: int, most: int = 1000, holder: str = "a", day: int = DAY, name: str = NAME, **more: Any
) -> Ask:
    return Ask(name, day, most, holder, number, **more)


async def test_what_is_needed_is_granted_and_a_block_besides(store: Store) -> None:
    lease = store.quotas.lease
    assert await lease(ask(1, need=3)) == Answer(3, 3)
    assert await lease(ask(2, need=7, block=True)) == Answer(7 + 9, 19), (
        "a hundredth of the 990 that are left"
    )
    assert await lease(ask(3, block=True, have=4)) == Answer(5, 24), (
        "what the gateway has is a part of its block"
    )
    assert await lease(ask(4, block=True, have=50)) == Answer(0, 24)
    assert await store.quotas.used(NAME, DAY) == 24
    assert await lease(ask(5, need=10**12, most=10**12, block=True)) == Answer(10**12 - 24, 10**12)


async def test_a_block_is_bounded(store: Store) -> None:
    most = 10**12
    assert await store.quotas.lease(ask(1, most, block=True)) == Answer(MOST_BLOCK, MOST_BLOCK)


async def test_no_more_than_the_quota_is_granted(store: Store) -> None:
    lease = store.quotas.lease
    assert await lease(ask(1, need=990)) == Answer(990, 990)
    assert await lease(ask(2, need=30, least=11, block=True)) == Answer(0, 990), (
        "nobody could use what is left"
    )
    assert await lease(ask(3, need=30, least=10, block=True)) == Answer(10, 1000)
    assert await lease(ask(4, need=1, least=1)) == Answer(0, 1000)
    assert await lease(ask(5, most=1002, need=5, least=1)) == Answer(2, 1002), "the quota was raised"
    assert await lease(ask(6, most=500, need=5, least=1)) == Answer(0, 1002), "and cut"


async def test_what_comes_back_is_granted_again(store: Store) -> None:
    lease = store.quotas.lease
    await lease(ask(1, need=1000))
    assert await lease(ask(2, back=400)) == Answer(0, 600)
    assert await lease(ask(1, holder="b", need=500)) == Answer(400, 1000)
    assert await lease(ask(3, back=5000)) == Answer(0, 0)


async def test_what_was_granted_without_the_store_counts_beyond_the_quota(store: Store) -> None:
    lease = store.quotas.lease
    assert await lease(ask(1, need=600)) == Answer(600, 600)
    assert await lease(ask(2, owed=500, need=1, least=1, block=True)) == Answer(0, 1100)
    assert await store.quotas.used(NAME, DAY) == 1100


async def test_an_ask_that_comes_twice_is_done_once(store: Store) -> None:
    lease = store.quotas.lease
    first = ask(1, need=10, owed=5)
    assert [await lease(first), await lease(first)] == [Answer(10, 15)] * 2
    assert await lease(ask(1, holder="b", need=10)) == Answer(10, 25), "another gateway's has another answer"
    assert await lease(first) == Answer(10, 25)
    assert await lease(ask(2, need=10)) == Answer(10, 35)


async def test_an_ask_that_comes_after_a_later_one_does_nothing(store: Store) -> None:
    lease = store.quotas.lease
    await lease(ask(9, need=10))
    await lease(ask(10, need=10))
    assert await lease(ask(9, need=10, owed=3)) == Answer(0, 20)
    assert await lease(ask(10, need=10)) == Answer(10, 20), "which is still known"
    assert await lease(ask(11, need=1)) == Answer(1, 21)


async def test_days_and_names_are_counted_apart(store: Store) -> None:
    lease = store.quotas.lease
    await lease(ask(1, need=1000))
    assert await lease(ask(2, day=DAY + 1, need=1)) == Answer(1, 1)
    assert await lease(ask(3, name="key 'a:b':rows", need=1)) == Answer(1, 1)
    assert await store.quotas.used(NAME, DAY) == 1000
    await lease(ask(4, day=DAY + 2, need=1))
    assert await store.quotas.used(NAME, DAY + 1) == 1, "the last day is kept"
    assert await store.quotas.used("unknown", DAY) == 0


async def test_many_gateways_at_a_time_get_the_quota_and_no_more(store: Store) -> None:
    chance, got = Random(7), 0
    for number in range(1, 400):
        asks = [
            ask(number, holder=holder, need=chance.randrange(20), least=1, block=True)
            for holder in "abcdefgh"
        ]
        answers = await asyncio.gather(*[store.quotas.lease(one) for one in asks])
        got += sum(answer.granted for answer in answers)
        if max(answer.used for answer in answers) == 1000:
            break
    assert got == await store.quotas.used(NAME, DAY) == 1000
