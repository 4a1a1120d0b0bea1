"""An exchange: one call of a model and its answer, from any front."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic
from typing import Any

from inferencehub.core.auth.caller import ANYONE, Action
from inferencehub.core.auth.peer import NOBODY
from inferencehub.core.lane.job import Job
from inferencehub.core.traces.context import Trace
from inferencehub.gateway.calls.limits.leases import Grant
from inferencehub.gateway.calls.limits.meters import Metered
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.traffic.split import Version

NO_FIELDS: Mapping[bytes, bytes] = {}


class Exchange:
    """What the gateway knows about a call, from its head to its end.

    Args:
        id: the request id, in logs, in answers and at the pod.

    `started` and `deadline` are in seconds on the clock of `time.monotonic`. `limit_s` is the time limit that came with
    the request's head, None if there was none. `size` is the size of the request's body in bytes. `model` is a metric
    label, so it is "" or a name that a pod has listed. `patience` is how many
    passes of the event loop the call waits for others to merge with (see `Lane.accept`). `kind` says how the call ended:
    "ok", or the label of an error. `action` is what the call does, None for what everybody may do, `caller` is who makes
    it, `metered` are the limits that count it, and `granted` is what it has taken of quotas. `peer` is the other end of its connection. `most_bytes` is the largest body
    that the caller may send, None for that of everybody. `deferred` keeps a call that has been admitted in place of running
    it; it gets the version that the caller names, and the rows. `losses` is None, or the number of pods that were lost with
    it before, if its caller counts them (see `Job.counted`). `tell` is called with how far its run is, from 0 to 1, if
    somebody wants to know. `fields` are its headers, where the file of traffic may ask for one, and `chosen` is the version that
    this file gives it, None for the one that the call names; `sticky` are those of `fields` that its job keeps, to get the
    version that the call would get; `moved` is whether it waited for another one before. `forwarded`
    are the headers that its model gets, None for none. `trailers` are for the metadata at the end of its answer over gRPC. `trace` is its
    place in its trace, None where there are no traces.
    """

    __slots__ = (
        "action",
        "caller",
        "chosen",
        "deadline",
        "deferred",
        "fields",
        "forwarded",
        "granted",
        "id",
        "job",
        "kind",
        "lane",
        "left",
        "limit_s",
        "losses",
        "metered",
        "metered_rows",
        "model",
        "most_bytes",
        "moved",
        "patience",
        "peer",
        "size",
        "started",
        "sticky",
        "tell",
        "trace",
        "trailers",
        "waiting",
    )

    def __init__(self, id: str) -> None:
        self.id = id
        self.action: Action | None = Action.INFER
        self.caller = ANYONE
        self.peer = NOBODY
        self.metered: tuple[Metered, ...] = ()
        self.metered_rows = 0  # that they have counted
        self.granted: tuple[Grant, ...] = ()
        self.most_bytes: int | None = None
        self.deferred: Callable[[str, int], None] | None = None
        self.fields = NO_FIELDS
        self.sticky = NO_FIELDS
        self.chosen: Version | None = None
        self.started = monotonic()
        self.limit_s: float | None = None
        self.tell: Callable[[float], None] | None = None
        self.deadline = inf
        self.model = ""
        self.forwarded: Mapping[str, str] | None = None
        self.patience = 0
        self.size = 0
        self.left = False
        self.moved = False
        self.losses: int | None = None
        self.trailers: tuple[tuple[str, str], ...] = ()
        self.trace: Trace | None = None
        self.kind = "ok"
        self.lane: ModelLane | None = None
        self.job: Job | None = None
        self.waiting: asyncio.Task[Any] | None = None  # the task that must end before the call becomes a job

    @property
    def kept_trace(self) -> str:
        """Its place in its trace, for what goes on with it later; "" where there are no traces."""
        return "" if self.trace is None else self.trace.kept

    def credit(self, weight: int) -> None:
        """Answers of this weight have reached the caller: the model may give more."""
        if self.job is not None and self.job.credit is not None:
            self.job.credit(weight)

    def give_back(self) -> None:
        """The call is refused: give back what its limits have counted, but that it still runs."""
        for one in self.metered:
            one.give_back(self.metered_rows)
        self.give_back_quotas()

    def give_back_quotas(self) -> None:
        """Give back what the call has taken of quotas of a day."""
        granted, self.granted = self.granted, ()
        for grant in granted:
            grant.give_back()

    def end(self) -> None:
        """The call is answered, or its caller has left: its limits count it no longer."""
        metered, self.metered = self.metered, ()
        for one in metered:
            one.ended()

    def leave(self) -> None:
        """The caller has left: stop the work for this call, if nothing else needs it."""
        self.left = True
        if self.waiting is not None:
            self.waiting.cancel()
        elif self.lane is not None and self.job is not None:
            self.lane.leave(self.job)

    def enough(self, version: str) -> None:
        """The caller has all that it asked for, from this version of the model: stop the work for this call."""
        if self.lane is not None and self.job is not None:
            self.lane.leave(self.job, version)
