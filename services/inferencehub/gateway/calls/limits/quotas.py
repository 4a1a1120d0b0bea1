"""Quotas of a day, as a store counts them for all gateways.

A gateway does not ask for each call. It leases a block: a hundredth of what is left, so blocks become small near the end of
a quota, and what a lost gateway had leased is lost with it. What is leased counts as used until it is given back, so all
gateways together never grant more than the quota.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from inferencehub.core.auth.limits import LimitReached
from inferencehub.core.values.errors import HubError, Kind

DAY_S = 86_400
SHARE, MOST_BLOCK = 100, 1000  # a block is this part of what is left, and this many at most
LONGEST_RETRY_S = 3600.0  # a quota may be raised, or given back, before the day ends


class Ask(NamedTuple):
    """What a gateway asks a store for.

    Args:
        quota: its name.
        day: days since 1970, in UTC.
        most: the quota.
        holder: the gateway.
        number: of the ask. One that comes again with the same number does nothing, and has the same answer; one that comes
            after one with a higher number does nothing, and is granted nothing.
        need: what is granted if so much is left; else what is left, or nothing if that is less than `least`.
        block: whether a block is granted besides. What the gateway has of it, `have`, is subtracted.
        have: see `block`.
        back: what is given back.
        owed: what was granted without the store. It counts, even beyond the quota.
    """

    quota: str
    day: int
    most: int
    holder: str
    number: int
    need: int = 0
    least: int = 0
    block: bool = False
    have: int = 0
    back: int = 0
    owed: int = 0


class Answer(NamedTuple):
    """What a store says: how much it has granted, and how much is used by then, with what is granted now."""

    granted: int
    used: int


class Quotas(Protocol):
    """What counts quotas. Both raise `HubError` NOT_READY where it can't be reached or used."""

    async def lease(self, ask: Ask) -> Answer:
        """Give back, settle and grant, in this order and in one step."""

    async def used(self, quota: str, day: int) -> int:
        """How much is used of a quota; what is leased counts."""


def granted(ask: Ask, used: int) -> int:
    """What a store grants for an ask, when so much is used."""
    left = max(0, ask.most - used)
    need = min(left, ask.need) if left >= ask.least else 0
    block = min(MOST_BLOCK, (left - need) // SHARE) if ask.block else 0
    return need + max(0, block - ask.have)


class Quota(NamedTuple):
    """A quota in sentences.

    Args:
        kind: whose it is: "key" or "tenant".
        who: the same with its name.
        unit: "calls" or "rows".
    """

    kind: str
    who: str
    unit: str

    @property
    def name(self) -> str:
        """What the store knows it by. A key without a tenant counts as one by its own name, so the kind is a part of it."""
        return f"{self.kind}:{self.who}:{self.unit}"

    def used_up(self, most: int, left: int, count: int, now: float) -> HubError:
        """The error for a call that finds no more.

        Args:
            most: the quota.
            left: of it, fewer than the call takes.
            count: what the call takes.
            now: Unix time.
        """
        verb, takes = ("make", "") if self.unit == "calls" else ("have", f" and this call has {count},")
        if count > 1 and self.unit == "calls":
            takes = f" and this batch has {count},"
        if count > most:
            return HubError(
                Kind.TOO_LARGE,
                f"{self.who} may {verb} {most} {self.unit} a day,{takes} more than any day has",
            )
        sentence = (
            f"{self.who} may {verb} {most} {self.unit} a day, {most - left} are used,{takes} and the quota begins anew at "
            f"{written(next_day(now))}"
        )
        unit = ';qu="rows"' if self.unit == "rows" else ""
        policy = f"{self.kind}-day" if self.unit == "calls" else f"{self.kind}-rows-day"
        return LimitReached(
            sentence, min(LONGEST_RETRY_S, next_day(now) - now), policy, f"q={most};w={DAY_S}{unit}"
        )

    def unknown(self) -> HubError:
        """The error for a call while the store can't be asked, and nothing is granted without it."""
        return HubError(
            Kind.NOT_READY,
            f"how many {self.unit} {self.who} has used today is not known: the store that counts them cannot be reached",
            retry_after=2,
        )


def next_day(now: float) -> int:
    """When the day of a time ends; both in Unix time."""
    return (int(now) // DAY_S + 1) * DAY_S


def written(at: int) -> str:
    """A Unix time in words, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
