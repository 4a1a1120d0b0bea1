"""The health of a pod, as gRPC's health service tells it: asked once, or on standing streams (Watch).

On a Watch a pod says at once that it, or one of its models, serves or does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.oip import extension
from inferencehub.core.process.tasks import cancelled
from inferencehub.gateway.pods.link import GONE, lost

ANSWER_S = 2.0  # how long a connection, or the answer to a call other than inference, may take
SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
AGAIN_S = 0.25  # wait before an ended Watch is opened again
NAMES_S = 1.0  # how often models that came or went are noticed


class Health:
    """The health service at the other end of a channel.

    Args:
        channel: the connection to the pod.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = health_pb2_grpc.HealthStub(channel)
        self.server_name = ""  # that of the whole server; see `has_watch`

    async def check(self) -> bool:
        """Call Check for the whole server (`server_name`); returns whether it serves.

        Raises:
            Lost: if there is no answer.
        """
        try:
            reply = await self._stub.Check(
                health_pb2.HealthCheckRequest(service=self.server_name), timeout=ANSWER_S
            )
        except grpc.aio.AioRpcError as error:
            raise lost(error) from None
        return bool(reply.status == SERVING)

    async def has_watch(self, *names: str) -> bool:
        """Whether the service has Watch; `server_name` is then the first of these names that it knows.

        Args:
            names: names for the whole server.

        Raises:
            Lost: if there is no answer.
        """
        for name in names:
            call = self._stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=ANSWER_S)
            try:
                reply = await call.read()
            except grpc.aio.AioRpcError as error:
                if error.code() in GONE:
                    raise lost(error) from None
                return False
            finally:
                call.cancel()
            if reply is not grpc.aio.EOF and reply.status != SERVICE_UNKNOWN:
                self.server_name = name
                return True
        return False

    def watches(
        self,
        names: Callable[[], Iterable[str]],
        server: Callable[[bool], None],
        model: Callable[[str, bool], None],
        listed: Callable[[], None],
        ended: Callable[[], None],
    ) -> list[Coroutine[Any, Any, None]]:
        """All that is to be followed of a server; none of it ends.

        Args:
            names: returns the models.
            server: called with whether the server serves, now and at each change.
            model: the same of each model, by its name.
            listed: called when the server's list of models may have changed; servers other than ours don't tell.
            ended: called when a stream has ended.
        """
        works = [self.watch(self.server_name, server, ended), self.watch_models(names, model, ended)]
        if self.server_name == extension.OPEN:
            works.append(self.watch(extension.LISTED, lambda value: listed(), ended))
        return works

    async def watch(self, service: str, says: Callable[[bool], None], ended: Callable[[], None]) -> None:
        """Follow the health of a service. It never ends.

        A service that the pod does not know counts as serving: the list of models decides about it.

        Args:
            service: the name that the pod's health service knows; `server_name` for the whole server.
            says: called with whether it serves, now and at each change.
            ended: called when a stream has ended, for any reason; the next one follows.
        """
        while True:
            call = self._stub.Watch(health_pb2.HealthCheckRequest(service=service))
            try:
                async for reply in call:
                    says(reply.status in (SERVING, SERVICE_UNKNOWN))
            except grpc.aio.AioRpcError:
                pass
            finally:
                call.cancel()
            ended()
            await asyncio.sleep(AGAIN_S)

    async def watch_models(
        self,
        names: Callable[[], Iterable[str]],
        says: Callable[[str, bool], None],
        ended: Callable[[], None],
    ) -> None:
        """Follow the health of each model in `names()`, which may change. It never ends; see `watch`.

        A model that is not there any more counts as serving, as a service that the pod does not know.
        """
        watches: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                there = set(names())
                for name in [name for name, watch in watches.items() if watch.done()]:  # by an error
                    del watches[name]
                for name in there - watches.keys():
                    work = self.watch(name, partial(says, name), ended)
                    watches[name] = asyncio.get_running_loop().create_task(work)
                for name in watches.keys() - there:
                    watches.pop(name).cancel()
                    says(name, True)
                await asyncio.sleep(NAMES_S)
        finally:
            await cancelled(watches.values())
