"""Batches: jobs that came in one file. They run as all others do; their batch is the one job that its owner sees.

What changes all items of a batch is noted in the store, and done in steps, so that nothing waits for 50,000 items at a time.
Whoever asked for it takes the steps; if they are lost meanwhile, `Store.sweep` does.

open     its items come, and none may run. Where no more come for `OPEN_S` seconds, it is forgotten
release  all have come: they may run
cancel, retry, forget: see `Store`
drop     its time is over: its items are forgotten, and it is known for as long again
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.record import JobRecord, NewJob, Result, State

MOST_ITEMS = 50_000  # as OpenAI's Batch API
OPEN_S = 60.0
MARK = "_batch"
PAGE_BYTES, PAGE_ITEMS = 2**20, 200  # of answers that are read at a time


class NewItem(NamedTuple):
    """One item that is to be kept.

    Args:
        job: what runs; its id is `item_id`.
        custom_id: how its sender calls it.
        error, refusal: why it was refused, and the answer that a call would have got; None for one that is to run.
    """

    job: NewJob
    custom_id: str
    error: str
    refusal: Result | None


class ItemAnswer(NamedTuple):
    """How an item has ended; `result` is None if it has none, else as it is kept: see `packing.unpacked_result`."""

    id: str
    custom_id: str
    state: State
    error: str
    result: Result | None


class Batches(Protocol):
    """The batches of a store, which raises as `Store` does. Their records, and what may be done with them, are those of jobs."""

    async def begin(self, batch: NewJob, total: int) -> JobRecord | None:
        """Open a batch of so many items; if its owner has one with its key already, that is the answer.

        Raises:
            HubError: KEY_REUSED if that one has another digest, BUSY if so many more jobs may not wait.
        """

    async def put(self, id: str, items: Sequence[NewItem], now: float) -> None:
        """Keep the next items of an open batch.

        Raises:
            HubError: BUSY if too many jobs wait, NOT_READY if the batch is open no longer.
        """

    async def seal(self, batch: NewJob, models: Sequence[str]) -> JobRecord:
        """All items are there: from now on it is a job, and its items may run; without any, it has failed.
        The answer is as that of `begin`.

        Args:
            batch: the batch.
            models: of all its items.

        Raises:
            HubError: KEY_REUSED as `begin`, NOT_READY if the batch is open no longer.
        """

    async def abandon(self, id: str) -> None:
        """Forget an open batch."""

    async def step(self, id: str, now: float) -> bool:
        """Do a part of what is to be done with all items; whether there is more."""

    async def listed(self, owner: str, most: int, before: str) -> list[JobRecord]:
        """Batches of an owner of which their front keeps something, the newest first; see `Items.about`.

        Args:
            owner: whose.
            most: how many.
            before: the id that they are before; "" for the newest.
        """

    async def answers(self, owner: str, id: str, after: str) -> list[ItemAnswer]:
        """Answers of an owner's batch in the order of its items: one page, of those behind the item `after`; "" for the first."""


def item_id(batch: str, number: int) -> str:
    """The id of an item, from 1 on. Such ids sort by their numbers."""
    return f"{batch}-{number:06}"


def items_of(batch: str) -> tuple[str, str]:
    """The range of ids of a batch's items, without its ends."""
    return f"{batch}-", f"{batch}."


def batch_of(id: str) -> str:
    """The batch of an item; "" for a job that is none."""
    batch, dash, _ = id.partition("-")
    return batch if dash else ""


def is_batch(id: str) -> bool:
    """Whether this is the id of a batch."""
    return id.endswith(MARK)


def outcome(stopped: bool, total: int, succeeded: int, failed: int, expired: int) -> State:
    """How a batch has ended, whose items have. One without items was not as expected."""
    if stopped:
        return State.CANCELLED
    if succeeded:
        return State.SUCCEEDED
    if failed or not total:
        return State.FAILED
    return State.EXPIRED if expired else State.CANCELLED


def not_open() -> HubError:
    """The error for items that came too late."""
    text = f"the items of a batch came {OPEN_S:g} s after those before, and it is open no longer"
    return HubError(Kind.NOT_READY, text)


def not_alone(id: str) -> HubError:
    """The error for what can be done only with a whole batch."""
    return HubError(Kind.CONFLICT, f"job {id} is an item of a batch, expected the batch: {batch_of(id)}")
