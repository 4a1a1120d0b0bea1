"""What a lane needs of others: slots where batches run, and an observer of what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from inferencehub.core.lane.batch import Batch, Outcome
from inferencehub.core.lane.sink import Emit
from inferencehub.core.values.requests import InferResponse, Times


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run gave: its last or only merged answer, its times, and which members (by index) were left out.

    `response` is None where all answers were emitted as parts.
    """

    response: InferResponse | None
    times: Times
    served_by: str = ""
    dropped: tuple[int, ...] = ()


class Slot(Protocol):
    """A place where one batch runs at a time."""

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        """Run a batch; returns, raises or accepts its cancellation only when the place is really free again.

        A model that gives several answers `emit`s each but the last, or each.

        Raises:
            NotAnswered: where it gave no answer.
        """


S = TypeVar("S", bound=Slot)


class Slots(Protocol[S]):
    """Where a lane gets its slots from."""

    def take(self) -> S | None:
        """A free slot, now taken; None where there is none."""

    def give(self, slot: S) -> None:
        """Return a slot that was taken."""

    @property
    def idle(self) -> int:
        """How many of the free slots would begin a batch at once, rather than let it wait for another."""


class Observer(Protocol):
    """Who counts what a lane does."""

    def dispatched(self, batch: Batch, now: float) -> None:
        """A batch left for a slot."""

    def returned(self, outcome: Outcome, jobs: int) -> None:
        """Jobs of a batch that gave no answer were put back."""
