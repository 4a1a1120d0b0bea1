"""Health Watches: standing streams on which a pod says at once that it, or one of its models, serves or does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from inferencehub.core.process.tasks import cancelled
from inferencehub.gateway.pods.channel import Channel

AGAIN_S = 0.25  # wait before an ended Watch is opened again
NAMES_S = 1.0  # how often models that came or went are noticed


async def watch(
    channel: Channel, service: str, says: Callable[[bool], None], ended: Callable[[], None]
) -> None:
    """Follow the health of a service, "" for the whole server. It never ends.

    Args:
        channel: the connection to the pod.
        service: the name that the pod's health service knows.
        says: called with whether it serves, now and at each change.
        ended: called when a stream has ended, for any reason; the next one follows.
    """
    while True:
        async for serving in channel.watch(service):
            says(serving)
        ended()
        await asyncio.sleep(AGAIN_S)


async def watch_models(
    channel: Channel,
    names: Callable[[], Iterable[str]],
    says: Callable[[str, bool], None],
    ended: Callable[[], None],
) -> None:
    """Follow the health of each model in `names()`, which may change. It never ends; see `watch`."""
    watches: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            there = set(names())
            for name in there - watches.keys():
                work = watch(channel, name, partial(says, name), ended)
                watches[name] = asyncio.get_running_loop().create_task(work)
            for name in watches.keys() - there:
                watches.pop(name).cancel()
            await asyncio.sleep(NAMES_S)
    finally:
        await cancelled(watches.values())
