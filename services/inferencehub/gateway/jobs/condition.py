"""How the store of jobs is: what each store says of itself, and what the doctor makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.process.doctor.process import ROOM, mib, of_clock
from inferencehub.core.values.errors import HubError

WHAT = "store of jobs"


class Condition(NamedTuple):
    """What a store says of itself.

    Args:
        where: its host and port, or its file, without user and password.
        evicts: the rule by which it would throw jobs away to make room; "" if it does not.
        persists: whether jobs survive its end; None if it does not say.
        used, most: bytes that it uses and may use; None if it does not say, or if there is no limit.
        clock: what its clock shows, in Unix time; None if it has none of its own.
    """

    where: str
    evicts: str = ""
    persists: bool | None = None
    used: float | None = None
    most: float | None = None
    clock: float | None = None


class Examined(Protocol):
    """What of a `Store` the doctor needs."""

    async def condition(self) -> Condition:
        """See `Store`."""


class StoreCheck:
    """The check of the store.

    Args:
        store: the store.
        works: whether it has answered the last time that the gateway asked it for jobs.
    """

    def __init__(self, store: Examined, works: Callable[[], bool]) -> None:
        self._store = store
        self._works = works

    async def look(self) -> list[Finding]:
        """All findings."""
        try:
            found = await self._store.condition()
        except HubError as error:
            fix = (
                "Calls that would be jobs get 503, and those that wait stay where they are. Look whether the store runs, whether "
                "HUB_JOBS names it, and whether network policies let gateways reach it."
            )
            return [fault(WHAT, error.detail, fix)]
        return [*of_condition(found), *([] if self._works() else [self._failing(found)])]

    def _failing(self, found: Condition) -> Finding:
        seen = f"{found.where} answers, but the last question for jobs failed"
        return warning(WHAT, seen, "If it stays so, the gateway's log says why.")


def of_condition(found: Condition) -> list[Finding]:
    """What is wrong with a store that answers."""
    bad = []
    if found.evicts:
        seen = f"{found.where} may throw jobs away: its maxmemory-policy is {found.evicts}"
        fix = "CONFIG SET maxmemory-policy noeviction, and the same in its configuration. A gateway that starts now would refuse it."
        bad.append(fault(WHAT, seen, fix))
    if found.persists is False:
        fix = "Fine for a demo. Else let it keep them: appendonly yes, with a volume."
        bad.append(warning(WHAT, f"{found.where} keeps jobs in memory only: they are lost when it ends", fix))
    if found.most and found.used is not None and found.used > ROOM * found.most:
        seen = f"{found.where} uses {mib(found.used)} of {mib(found.most)}"
        fix = "Give it more room, or keep results for a shorter time (HUB_JOB_TTL_S); when it is full, no job is accepted."
        bad.append(warning(WHAT, seen, fix))
    clock = of_clock("the store of jobs", found.clock)
    if clock is not None and clock.fix:
        bad.append(clock)
    return bad or [ok(WHAT, f"{found.where} answers, and keeps what it accepts")]
