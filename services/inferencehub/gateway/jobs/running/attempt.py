"""Attempts that run here: what a front needs to run one, and what comes out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from inferencehub.core.lane.job import Job
from inferencehub.gateway.jobs.record import Claim, Result
from inferencehub.gateway.jobs.running.telling import Telling


class Outcome(NamedTuple):
    """How an attempt ended.

    Args:
        result: what a call would have been answered; status 0 for nothing.
        error: why it failed; "" if it did not.
        refused: whether it may be tried again: nothing ran, or what ran was lost.
        ran: whether the model may have run.
        lost: pods that were lost with it.
        busy: whether it was refused for lack of room, which says nothing of the job.
        slot_s: seconds of a slot that it took; 0 if that is not known.
    """

    result: Result
    error: str
    refused: bool
    ran: bool
    lost: int
    busy: bool = False
    slot_s: float = 0.0


class Running:
    """One attempt that runs.

    Args:
        claim: what runs.
        telling: what it tells before its end.

    `stop` ends it, and `job` is what a lane has of it, None before that; its front sets both. `ended` is set once its outcome
    is there, which may not be in the store yet.
    """

    __slots__ = ("claim", "ended", "job", "stop", "telling")

    def __init__(self, claim: Claim, telling: Telling) -> None:
        self.claim = claim
        self.telling = telling
        self.ended = False
        self.stop: Callable[[], None] = lambda: None
        self.job: Callable[[], Job | None] = lambda: None

    def runs(self) -> bool:
        """Whether it is at a pod."""
        job = self.job()
        return job is not None and job.run is not None

    def has_run(self) -> bool:
        """Whether it has left its lane for a pod, now or before: the model may have run."""
        job = self.job()
        return job is not None and (job.run is not None or job.waited > 0)


class Run(Protocol):
    """Runs an attempt; a front does that."""

    def __call__(self, running: Running, ended: Callable[[Outcome], None]) -> None:
        """Begin to run an attempt. `ended` gets its outcome, once."""


class Attempts:
    """All attempts that run here; `none` is set while there are none."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, int], Running] = {}
        self._by_id: dict[str, list[Running]] = {}
        self.none = asyncio.Event()
        self.none.set()

    def __contains__(self, one: Running) -> bool:
        return self._all.get((one.claim.id, one.claim.attempt)) is one

    def add(self, one: Running) -> None:
        """One begins."""
        self._all[one.claim.id, one.claim.attempt] = one
        self._by_id.setdefault(one.claim.id, []).append(one)
        self.none.clear()

    def remove(self, one: Running) -> None:
        """One has ended."""
        if one in self:
            del self._all[one.claim.id, one.claim.attempt]
            self._by_id[one.claim.id].remove(one)
            if not self._by_id[one.claim.id]:
                del self._by_id[one.claim.id]
            if not self._all:
                self.none.set()

    def drop(self, one: Running) -> None:
        """Nobody needs the outcome of one any more: stop it."""
        if one in self:
            self.remove(one)
            one.telling.close()
            one.stop()

    def of(self, id: str) -> list[Running]:
        """Those of a job."""
        return list(self._by_id.get(id, ()))

    def all(self) -> list[Running]:
        """All of them."""
        return list(self._all.values())

    def of_lane(self, lane: str) -> list[Running]:
        """Those for a lane."""
        return [one for one in self._all.values() if one.claim.lane == lane]
