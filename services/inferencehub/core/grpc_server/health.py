"""The health service grpc.health.v1.

grpcio-health-checking also has a servicer, but its Watch streams never end by themselves. A server that waits for its
calls at the end would wait for every watcher. Here, `end` closes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from inferencehub.core.grpc_server.coding import decoded
from inferencehub.core.grpc_server.refusal import no_message, refuse
from inferencehub.core.values.errors import HubError

SERVICE = "grpc.health.v1.Health"
REQUEST = "HealthCheckRequest"
LONGEST = 2**16  # bytes of a request
Status = health_pb2.HealthCheckResponse
Shows = Callable[[str, Any], bool]  # whether a call, by its context, may know the status of a name


class Health:
    """The statuses by service name, and the watches of them.

    Args:
        serving: the first statuses; "" is the whole process.
    """

    def __init__(self, serving: Mapping[str, bool]) -> None:
        self._serving = dict(serving)
        self._change = asyncio.Event()  # at each change it is set and replaced by a new one
        self._ended = False

    def handlers(self, shows: Shows = lambda name, context: True) -> grpc.GenericRpcHandler:
        """The gRPC handlers of the service. They read requests themselves: bytes that are none get a clear status.

        Args:
            shows: whether a caller may know the status of a name; if not, it is unknown to them.
        """
        check, watch = partial(self._check, shows), partial(self._watch, shows)
        unary: Any = grpc.unary_unary_rpc_method_handler(check, None, Status.SerializeToString)
        stream: Any = grpc.unary_stream_rpc_method_handler(watch, None, Status.SerializeToString)
        return grpc.method_handlers_generic_handler(SERVICE, {"Check": unary, "Watch": stream})

    def set(self, serving: Mapping[str, bool]) -> None:
        """Set the statuses of these names. All other names keep their statuses."""
        if any(self._serving.get(name) is not value for name, value in serving.items()):
            self._serving.update(serving)
            self._wake()

    def forget(self, names: Iterable[str]) -> None:
        """Let these names be unknown from now on."""
        for name in names:
            del self._serving[name]
            self._wake()

    def end(self) -> None:
        """End all watches."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def _check(self, shows: Shows, data: bytes, context: Any) -> Any:
        """Check: the status of one name; gRPC status NOT_FOUND if the name is unknown."""
        name = service_of(data)
        if name is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, no_message(REQUEST))
            return None
        serving = self._serving.get(name) if shows(name, context) else None
        if serving is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"service '{name[:80]}' is unknown")
        return Status(status=Status.SERVING if serving else Status.NOT_SERVING)

    async def _watch(self, shows: Shows, data: bytes, context: Any) -> AsyncIterator[Any]:
        """Watch: the status of one name, now and at each change; SERVICE_UNKNOWN as long as the name is unknown."""
        name = service_of(data)
        if name is None:
            refuse(context, REQUEST)
            return
        shown = -1
        while not self._ended:
            change = self._change  # read before the status, so no change is missed
            serving = self._serving.get(name) if shows(name, context) else None
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


def service_of(data: bytes) -> str | None:
    """The name that a request asks for; None if the bytes are no request."""
    try:
        name: str = health_pb2.HealthCheckRequest.FromString(decoded(data, LONGEST)[0]).service
    except (DecodeError, HubError):
        return None
    return name
