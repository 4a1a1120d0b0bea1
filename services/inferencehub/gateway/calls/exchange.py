"""One call of a model and its answer, whatever front it came by."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import Any

from inferencehub.core.lane.job import Job
from inferencehub.gateway.routing.model_lane import ModelLane


class Exchange:
    """What is known of a call, from its head to its end.

    Args:
        id: names it in logs, in answers and at the pod.

    `started` and `deadline` are on the clock of `time.monotonic`. `limit_s` is what its front was told of its time
    limit, None for nothing; `size` is the bytes of the request as it came. `model` is a label, and so only ever a name that a pod has listed. `kind` says how it
    ended: "ok", or the label of an error.
    """

    __slots__ = ("deadline", "id", "job", "kind", "lane", "limit_s", "model", "size", "started", "waiting")

    def __init__(self, id: str) -> None:
        self.id = id
        self.started = monotonic()
        self.limit_s: float | None = None
        self.deadline = inf
        self.model = ""
        self.size = 0
        self.kind = "ok"
        self.lane: ModelLane | None = None
        self.job: Job | None = None
        self.waiting: asyncio.Task[Any] | None = None  # what it waits for before it can become a job

    def leave(self) -> None:
        """The caller has left: nothing is run for it any more if that can be helped."""
        if self.waiting is not None:
            self.waiting.cancel()
        elif self.lane is not None and self.job is not None:
            self.lane.leave(self.job)
