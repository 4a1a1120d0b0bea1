"""The health service grpc.health.v1: "" for the whole process, each model by its name, and a name for each probe.

Probe names contain a "/", so no model can have the same name:

    probe/started   loading has ended
    probe/ready     same as "": loading has ended, the process is not draining, and the required models serve
    probe/live      the event loop works

grpcio-health-checking also has a servicer, but its Watch streams never end by themselves. A server that waits for its
calls at the end would wait for every watcher. Here, `end` closes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

STARTED, READY, LIVE = "probe/started", "probe/ready", "probe/live"
Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """The statuses by service name, and the watches of them."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {"": False, READY: False, STARTED: False, LIVE: True}
        self._change = asyncio.Event()  # at each change it is set and replaced by a new one
        self._ended = False

    def set(self, serving: dict[str, bool]) -> None:
        """Set the statuses of these names. All other names keep their statuses."""
        if any(self._serving.get(name) is not value for name, value in serving.items()):
            self._serving.update(serving)
            self._wake()

    def end(self) -> None:
        """End all watches."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The status of one name; gRPC status NOT_FOUND if the name is unknown."""
        serving = self._serving.get(request.service)
        if serving is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"service '{request.service[:80]}' is unknown")
        return Status(status=Status.SERVING if serving else Status.NOT_SERVING)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The status of one name, now and at each change; SERVICE_UNKNOWN as long as the name is unknown."""
        shown = -1
        while not self._ended:
            change = self._change  # read before the status, so no change is missed
            serving = self._serving.get(request.service)
            status = (
                Status.SERVICE_UNKNOWN
                if serving is None
                else Status.SERVING
                if serving
                else Status.NOT_SERVING
            )
            if status != shown:
                shown = status
                yield Status(status=status)
            await change.wait()
