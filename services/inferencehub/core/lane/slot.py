"""What a lane needs from its tier: slots where batches run, and an observer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from inferencehub.core.lane.batch import Batch, Outcome
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.sink import Emit
from inferencehub.core.values.requests import InferResponse, Times, Trip


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of a run: its last or only answer, still merged, and its times.

    `response` is None if all answers were emitted as parts. `dropped` has the indices of jobs in the batch that the pod
    cut out because their deadlines had passed. `version` is the model's, and `rows` those of the run; 0 if another answer
    counts this run, because it had the rows of several batches. `span` is as in `Trip`.
    """

    response: InferResponse | None
    times: Times
    served_by: str = ""
    dropped: tuple[int, ...] = ()
    version: str = ""
    rows: int = 0
    span: tuple[str, int] | None = None

    def trip(self, rows: int, took: float) -> Trip:
        """The facts that the jobs of the batch share: it had so many rows, and its run took so many seconds."""
        times, response = self.times, self.response
        network = max(0.0, took - times.queue - times.compute)
        size = response.size if response is not None else 0
        seconds = (times.queue, network, times.compute, times.input, times.output)
        return Trip(rows, size, self.served_by, *seconds, span=self.span, version=self.version)


class Slot(Protocol):
    """A slot, where one batch runs at a time."""

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        """Run a batch. Returns, raises or ends after a cancellation only when the slot is really free again.

        If a model gives several answers, `emit` is called with each one but the last, or with each one.

        Raises:
            NotAnswered: if the run gave no answer.
        """


S = TypeVar("S", bound=Slot)


class Slots(Protocol[S]):
    """Where a lane gets its slots from."""

    def take(self, again: bool = False, at_once: bool = False) -> S | None:
        """Take a free slot; None if there is none.

        Args:
            again: whether it is for the second run of a job that was lost; such a slot is at a pod that runs no other
                job again.
            at_once: whether it must begin a batch at once, instead of keeping it for later.
        """

    def give(self, slot: S, again: bool = False) -> None:
        """Return a slot that was taken; `again` as it was taken."""

    @property
    def idle(self) -> int:
        """The number of free slots that would begin a batch at once, instead of keeping it for later."""

    @property
    def spare(self) -> int:
        """As `idle`, without those that others keep busy, as far as is known."""


class Observer(Protocol):
    """Is notified of what a lane does; metrics count it."""

    def dispatched(self, batch: Batch, now: float) -> None:
        """A batch left for a slot, at `now` on the lane's clock."""

    def answered(self, ran: Ran, requests: int, rows: int, took: float, waited: float) -> None:
        """A run answered so many callers' requests; `took` and `waited` are sums of their seconds, in all and in queues."""

    def failed(self, version: str, requests: int, took: float) -> None:
        """So many callers' requests failed, or their callers left; `took` is the sum of their seconds.

        `version` is the one that they named, "" for none.
        """

    def returned(self, outcome: Outcome, jobs: int) -> None:
        """`jobs` jobs of a batch without an answer were put back."""


def count_closed(observer: Observer, job: Job, enough: str | None, took: float) -> None:
    """Count a job that ends without the end of its run.

    Args:
        observer: counts it.
        job: the job.
        enough: the version whose answers were enough for the caller; None if it failed or its caller has left.
        took: seconds since it came.
    """
    callers = len(job.members)
    if enough is None:
        observer.failed(job.request.version, callers, callers * took)
    else:
        ran = Ran(None, Times(compute=max(0.0, took - job.waited)), version=enough, rows=job.rows)
        observer.answered(ran, callers, job.rows, callers * took, callers * job.waited)
