"""What this gateway may still grant of one quota, without asking anybody."""

from __future__ import annotations

from asyncio import Event
from math import inf
from time import monotonic
from typing import TypeVar

from inferencehub.core.process.tasks import until
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.limits.quotas import Answer, Ask, Quota

T = TypeVar("T")
KNOWN_S = 1.0  # that the store's last word holds on what is left: a quota that is used up is asked for no more often
DOWN_S = 1.0  # after a failure in which the store is not asked
WAIT_S = 1.0  # that calls wait for the store; those that come later do not, until it has answered


class Awaited(Exception):
    """There may be more at the store: wait by `then`, and take again."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self.lease = lease

    async def then(self, deadline: float, value: T) -> T:
        """Wait until the store has answered, or takes too long; then the value.

        Args:
            deadline: of the call, on the clock of `time.monotonic`.
            value: what is to be admitted anew.

        Raises:
            HubError: DEADLINE if the call's deadline has passed.
        """
        lease, left_s = self.lease, deadline - monotonic()
        if left_s <= 0:
            raise HubError(Kind.DEADLINE, "the call's deadline has passed while its quota was asked for")
        await until(lease.answered, min(left_s, 2 * WAIT_S))
        return value


class Lease:
    """See the module's text. It has no clock for days, and asks nobody.

    Args:
        quota: which one.
        fails_open: whether calls are granted while the store can't be asked.
        owner: see `Metered`.

    `left` is leased and not granted yet. `answered` is set when an ask has ended; `asking` says whether one goes on.
    """

    __slots__ = (
        "_down_until",
        "_fails_open",
        "_known_until",
        "answered",
        "asking",
        "day",
        "least",
        "left",
        "low",
        "most",
        "moved",
        "owed",
        "owner",
        "quota",
        "unsure",
        "used",
        "waiting",
    )  # fmt: skip

    def __init__(self, quota: Quota, fails_open: bool, owner: tuple[str, str] = ("", "")) -> None:
        self.quota = quota
        self.owner = owner
        self._fails_open = fails_open
        self.asking = False
        self.answered = Event()
        self.moved = False
        self.waiting = self.least = 0  # what all take who wait, and what the one takes who takes least
        self.most = 0
        self.begin(0)

    def begin(self, day: int) -> None:
        """Another day: what was left of the last one is gone."""
        self.day = day
        self.left = self.used = self.owed = self.low = 0
        self.unsure: Ask | None = None  # the last ask, if it has had no answer
        self._known_until = 0.0
        if not self.asking:  # else nobody waits for an ask that is late, whatever day it is of
            self._down_until = 0.0

    @property
    def remaining(self) -> int:
        """What is left of the quota, here and at the store, as far as is known here."""
        return self.left + max(0, self.most - self.used - self.owed)

    def require(self, count: int, now: float) -> None:
        """Check that so much may be granted now. Where the store is down and that is allowed, the lease grows by itself.

        Args:
            count: how much.
            now: Unix time.

        Raises:
            HubError: BUSY if the quota is used up, TOO_LARGE if it is smaller, NOT_READY if the store can't be asked.
            Awaited: if the store has to be asked.
        """
        if self.left >= count:
            return
        at = monotonic()
        if count > self.most or (at < self._known_until and count > self.remaining):
            raise self.quota.used_up(self.most, self.remaining, count, now)
        if at >= self._down_until:
            raise Awaited(self)
        if not self._fails_open:
            raise self.quota.unknown()
        if count > self.remaining:
            raise self.quota.used_up(self.most, self.remaining, count, now)
        self.owed += count - self.left
        self.left = count

    def take(self, count: int) -> None:
        """Grant so much, for which `require` has been asked."""
        self.left -= count
        self.moved = True

    def expect(self, count: int) -> None:
        """A call waits for so much: the next ask is for it too."""
        self.waiting += count
        self.least = min(self.least, count) or count

    @property
    def may_ask(self) -> bool:
        """Whether the store may be asked: it is not being asked, and has not just failed to answer."""
        return not self.asking and monotonic() >= self._down_until

    def give_back(self, day: int, count: int) -> None:
        """What was granted on this day was not used."""
        if day == self.day:
            self.left += count

    def next_ask(self, holder: str, number: int, back: bool) -> Ask:
        """What to ask the store for: the last ask again if it has had no answer.

        Args:
            holder: this gateway.
            number: that no ask of this gateway has had.
            back: whether to give back what is left, in place of asking for more.
        """
        if self.unsure is None:
            name = (self.quota.name, self.day, self.most, holder, number)
            if back:
                self.unsure = Ask(*name, back=self.left, owed=self.owed)
                self.left = self.low = 0
                self._known_until = 0.0  # what was known to be used has what goes back now
            else:
                need, have = max(0, self.waiting - self.left), max(0, self.left - self.waiting)
                least = max(0, self.least - self.left)
                self.unsure = Ask(*name, need, least, block=True, have=have, owed=self.owed)
        return self.unsure

    def late(self) -> None:
        """The store takes too long: nobody waits for it any more."""
        self._down_until = inf
        self.answered.set()

    def ended(self, ask: Ask, answer: Answer | None) -> None:
        """An ask has ended.

        Args:
            ask: which.
            answer: what the store says; None if it can't be reached.
        """
        self._down_until = monotonic() + DOWN_S if answer is None else 0.0
        if answer is not None and ask is self.unsure:  # else the day has ended
            self.unsure = None
            self.left += answer.granted
            self.used = answer.used
            self.owed -= ask.owed
            settled = min(self.left, self.owed)  # granted while the ask was on its way
            self.left -= settled
            self.owed -= settled
            self.low = max(0, self.left - self.waiting) // 2
            self._known_until = monotonic() + KNOWN_S
        self.asking = False
        self.waiting = self.least = 0
        self.answered.set()
