"""A pod that has just loaded a model: it is asked what it has before a request hears that it lacks it."""

from __future__ import annotations

import asyncio

import aiohttp

from inferencehub.gateway.pods.link import PodState
from tests.gateway.pods.test_stream import Client, Scripted, serving
from tests.hub import eventually, running_gateway


async def test_a_pod_that_has_just_loaded_is_asked_what_before_it_is_said_to_lack_a_model() -> None:
    pod = Scripted()
    pod.loaded, pod.takes_streams = False, False
    async with serving(pod) as address, running_gateway((address,)) as gateway:
        backend = gateway.fleet.pods[address]
        await eventually(lambda: backend.state is PodState.NOT_SERVING)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as session:
            client = Client(session)
            pod.loaded, pod.index_s = True, 0.5
            await eventually(lambda: backend.up)
            assert await client.ask(1.0) == (200, [1.0])


async def test_a_list_from_before_it_had_loaded_does_not_say_what_it_lacks() -> None:
    """It comes when the pod accepts work already, and the next one takes a while."""
    pod = Scripted()
    pod.loaded, pod.takes_streams = False, False
    async with serving(pod) as address, running_gateway((address,)) as gateway:
        backend = gateway.fleet.pods[address]
        await eventually(lambda: backend.state is PodState.NOT_SERVING)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as session:
            pod.lists.clear()
            asked = pod.listing
            await eventually(lambda: pod.listing == asked + 1)
            pod.loaded = True
            await eventually(lambda: backend.up)
            pod.lists.set()
            pod.lists.clear()  # for the next one
            await eventually(lambda: pod.listing == asked + 2)
            call = asyncio.create_task(Client(session).ask(1.0))
            await eventually(lambda: gateway.unknown.held == {"echo": 1} or call.done())
            pod.lists.set()
            assert await call == (200, [1.0])


async def test_a_model_is_listed_as_ready_once_it_can_be_called() -> None:
    pod = Scripted()
    pod.lacks = True
    async with serving(pod) as address, running_gateway((address,)) as gateway:
        await eventually(lambda: gateway.fleet.pods[address].up)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as session:

            async def listed() -> list[str]:
                async with session.post("/v2/repository/index", json={"ready": True}) as answer:
                    return [one["name"] for one in await answer.json()]

            pod.describes.clear()
            pod.lacks = False
            await eventually(lambda: pod.described > 0)
            assert await listed() == []
            pod.describes.set()
            await eventually(lambda: bool(gateway.fleet.pods[address].replicas))
            assert await listed() == ["echo"]
            assert (await Client(session).ask(1.0)) == (200, [1.0])
