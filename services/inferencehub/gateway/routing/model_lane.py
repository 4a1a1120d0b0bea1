"""A lane of the gateway: one model, one signature, and the replicas at all pods that serve it.

A `ModelLane` is the `Slots` of its lane: `take` returns the free replica with the least load. Of replicas with equal
load it returns the one that was used the longest time ago. A job that was lost with its pod runs again at a pod that
runs no other such job, of whatever model: if that pod is lost as well, the cause is known. While no pod serves the
model, requests wait here for `hold_s` seconds; then they are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.lane import Lane
from inferencehub.core.lane.parts import Parts
from inferencehub.core.lane.queues.queue import Queue
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.lane.sink import Sink
from inferencehub.core.lane.slot import Observer
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import ModelInfo
from inferencehub.gateway.pods.link import home_of
from inferencehub.gateway.pods.replica import Replica
from inferencehub.pb.model_config_pb2 import ModelConfig

NO_POD = "no pod serves it"
HOLD_STEP_S = 0.01  # requests whose waiting time ends within this step are refused together


class LaneObserver(Observer, Protocol):
    """An observer that is told the version of requests that name none."""

    version: str


class ModelLane:
    """See the module's text.

    Args:
        info: the model as its pods describe it.
        mergeable_rows: rows of several requests that may leave together; 0 if each leaves by itself.
        queue_length: rows that may wait.
        hold_s: seconds that a request waits while no pod serves the model.
        bytes_held: the process's budget of bytes.
        retries: the model's budget of second tries.
        observer: is notified of batches that leave and jobs that return.
        floor: the least share of the rows that background work gets.
    """

    def __init__(
        self,
        info: ModelInfo,
        mergeable_rows: int,
        queue_length: int,
        hold_s: float,
        bytes_held: ByteBudget,
        retries: RetryBudget,
        observer: LaneObserver,
        floor: float = 0.0,
    ) -> None:
        self.info = info
        self.hold_s = hold_s
        self._config: ModelConfig | None = None
        self.observer = observer
        self.replicas: list[Replica] = []
        self._pools: dict[str, int] = {}  # as `pools` was last, while any pod served it
        self.homes: set[str] = set()  # of the pods that serve it, or served it last; see `home_of`
        self.absent_since: float | None = monotonic()
        self.last_used = 0.0
        self._reason = ""  # why its pods do not serve it, as they report it
        self._withdrawn = ""  # why nothing waits for a pod: the pods took the model back
        self._hopeless = False  # whether no pod will serve it soon
        self._holding: asyncio.TimerHandle | None = None
        self._in_parts: dict[Job, Parts] = {}
        self._moving = False  # whether `_move` is called soon
        queue = Queue(mergeable_rows, queue_length)
        self.lane: Lane[Replica] = Lane(queue, self, bytes_held, retries, observer, info.at_most_once, floor)

    @property
    def config(self) -> ModelConfig | None:
        """The model's configuration as its pods show it now, or showed it last; None if they show none."""
        if self.replicas:
            self._config = self.replicas[-1].config
        return self._config

    @property
    def pools(self) -> dict[str, int]:
        """The slots of each pool that serves the model, or served it last."""
        if self.replicas:
            self._pools = {}
            for replica in self.replicas:
                self._pools[replica.pod.pool] = self._pools.get(replica.pod.pool, 0) + replica.info.slots
        return self._pools

    @property
    def open(self) -> bool:
        """Whether any pod serves the model."""
        return any(replica.open for replica in self.replicas)

    @property
    def load(self) -> float:
        """Requests that wait or run, per slot of the pods that serve the model."""
        slots = sum([replica.info.slots for replica in self.replicas if replica.open])
        return (len(self.lane.queue) + self.lane.in_use.jobs) / max(1, slots)

    def take(self, again: bool = False, at_once: bool = False) -> Replica | None:
        """Take the best free replica; None if there is none. See `Slots.take`."""
        best: Replica | None = None
        for replica in self.replicas:
            if (
                (replica.free_again if again else replica.free)
                and (not at_once or replica.spare)
                and (best is None or (replica.load, replica.last_used) < (best.load, best.last_used))
            ):
                best = replica
        if best is not None:
            best.enter()
            best.pod.tries = best.pod.tries or again
        elif self.absent_since is not None:
            self._move_soon()
            # A job that a pod has refused comes back when all others were refused already.
            if not self._refuse_all() and self._holding is None:
                self._hold()
        return best

    def give(self, slot: Replica, again: bool = False) -> None:
        """Return a replica, and wake the other lanes that share it; the calling lane looks for work by itself."""
        slot.leave()
        if again:
            slot.pod.tried()
        for freed in slot.freed:
            if freed != self.lane.pump:
                freed()

    @property
    def idle(self) -> int:
        """Instances at the pods that have no work, estimated from the batches that this gateway sent."""
        return sum(
            [max(0, replica.info.slots - replica.in_flight) for replica in self.replicas if replica.free]
        )

    @property
    def spare(self) -> int:
        """Instances at the pods that have no work, as far as this gateway can know."""
        return sum([replica.spare for replica in self.replicas if replica.free])

    @property
    def for_jobs(self) -> int:
        """Of these, what calls leave to jobs; see `core/lane/queues/background.py`."""
        in_use = self.lane.in_use
        return max(self.spare - in_use.left_to_calls(monotonic()), int(self.spare and not in_use.background))

    @property
    def room_for_jobs(self) -> int:
        """Rows of jobs that may begin now, beside those that wait here already; below 0 if too many do."""
        return self.for_jobs * max(1, self.lane.queue.max_rows) - self.lane.background.rows

    def set_replicas(self, replicas: Sequence[Replica]) -> None:
        """Set the replicas that may serve the model from now on."""
        for replica in self.replicas:
            if replica not in replicas:
                replica.freed.remove(self.lane.pump)
        for replica in replicas:
            if replica not in self.replicas:
                replica.freed.append(self.lane.pump)
        self.replicas = list(replicas)
        if replicas:
            # It has the same contract, and may come from a newer release.
            self.info = replicas[-1].info
            self.observer.version = self.info.version
            self.homes = {home_of(replica.pod) for replica in replicas}
        self.look()

    def look(self) -> None:
        """React to pods that opened or closed."""
        if self.open:
            self.absent_since, self._withdrawn = None, ""
            self.lane.pump()
            return
        if self.absent_since is None:
            self.absent_since = monotonic()
            self.lane.pump()
        self._move_soon()

    def _move_soon(self) -> None:
        """Let those that wait go to another lane, where they may; the table and the queue may be about to change now."""
        if not self._moving and not self.lane.idle:
            self._moving = True
            asyncio.get_running_loop().call_soon(self._move)

    def _move(self) -> None:
        self._moving = False
        for job in self.lane.waiting() if self.absent_since is not None else ():
            if job.move is not None and not job.losses:
                job.move(job)

    def set_reason(self, reason: str, hopeless: bool) -> None:
        """Set why no pod serves the model, "" if no pod says; requests do not wait for a pod if it is `hopeless`."""
        self._reason, self._hopeless = reason, hopeless
        self._refuse_all()

    def withdraw(self, version: str) -> None:
        """The pods serve the model, or this `version` of it, no more: nothing waits for it. What runs goes on."""
        if self.absent_since is not None and not self._withdrawn:
            what = named(self.info.name)
            what = f"version '{version[:80]}' of {what}" if version else what
            self._withdrawn = f"{what} was served and is no more"
            self._refuse_all()

    def _in_vain(self) -> HubError | None:
        """Why a request does not wait for a pod; None if it may."""
        if self.absent_since is None:
            return None
        if self._withdrawn:
            return HubError(Kind.NOT_FOUND, self._withdrawn)
        return does_not_serve(self.info.name, self._reason) if self._hopeless else None

    def _refuse_all(self) -> bool:
        """Refuse all jobs that wait in vain; whether they do."""
        if (why := self._in_vain()) is None:
            return False
        self.lane.refuse(lambda job: True, why)
        return True

    def accept(self, job: Job, sink: Sink, patience: int = 0) -> None:
        """Put a job into the lane; see `Lane.accept`.

        Raises:
            HubError: NOT_FOUND if the pods took the model back, NOT_READY if no pod serves it, and none will or the queue
                is full; else as `Lane.accept`.
        """
        if self.absent_since is not None:
            if (why := self._in_vain()) is not None:
                raise why
            queue = self.lane.queue
            if queue.full and not job.background and queue.giver(job) is None:
                raise no_pod(self.info.name, 0, f"{len(self.lane.queue)} requests wait for one already")
        self.last_used = job.arrived
        most = self.info.signature.max_batch_size
        if job.rows > most > 0:
            parts = Parts(self.lane, job, most, sink, self._in_parts.pop)
            parts.begin()
            self._in_parts[job] = parts
            return
        self.lane.accept(job, sink, patience)

    def leave(self, job: Job, enough: str | None = None) -> None:
        """The caller of a job has left, or has its answer; see `Lane.leave`."""
        if job in self._in_parts:
            self._in_parts[job].leave()
        else:
            self.lane.leave(job, enough)

    def _hold(self) -> None:
        """Refuse the jobs that have waited for a pod for `hold_s`, and set a timer for the next one."""
        self._holding = None
        absent = self.absent_since
        if absent is None:
            return
        latest = monotonic() - self.hold_s
        name = self.info.name
        why = does_not_serve(name, self._reason) if self._reason else no_pod(name, self.hold_s)
        self.lane.refuse(lambda job: max(job.arrived, absent) <= latest, why)
        waiting = self.lane.waiting()
        if waiting:
            oldest = max(absent, min([job.arrived for job in waiting]))
            later = max(HOLD_STEP_S, oldest - latest)
            self._holding = asyncio.get_running_loop().call_later(later, self._hold)


def does_not_serve(model: str, reason: str) -> HubError:
    """The error of a request for a model that is there and does not serve, with the reason that its pod gives."""
    return HubError(Kind.NOT_READY, f"model '{model[:80]}' does not serve: {reason}")


def named(model: str) -> str:
    """A model in a sentence; `model` is "" if the request named none."""
    return f"model '{model[:80]}'" if model else "a model for a request without model_name"


def no_pod(model: str, waited_s: float, reason: str = NO_POD) -> HubError:
    """The error of a request that waited for a pod in vain."""
    waited = f" (waited {waited_s:g} s)" if waited_s else ""
    return HubError(
        Kind.NOT_READY,
        f"{named(model)} cannot be reached: {reason}{waited}",
        retry_after=2,
    )
