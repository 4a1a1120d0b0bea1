"""What is wished holds for pods and gateways that start later, start anew, or know of it from the store alone."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.routing.control.pods import Outcome, Told, after
from inferencehub.gateway.routing.control.wishes import Wish
from tests.gateway.pod_processes import Name
from tests.gateway.routing.control.loading import change, loading_gateway, pods_to_load, value
from tests.hub import Hub, eventually, mock_model
from tests.inference.models.control.valued import answer, until, valued
from tests.inference.pod_processes import Pod, calling_pod
from tests.ports import free_port
from tests.valkey import Valkey


def serving(pod: Pod) -> list[str]:
    """The models that a pod serves."""
    return [name for name in ("m", "quick") if pod.server.models.serves(name)]


async def wishes(hub: Hub) -> dict[str, tuple[int, bool]]:
    """What the store keeps: of each model the revision, and whether it is to be loaded."""
    assert hub.gateway.jobs is not None
    known = await hub.gateway.jobs.jobs.store.wishes.read(0)
    return {} if known is None else {name: (one.revision, one.loaded) for name, one in known.wishes.items()}


async def all_serve(pods: list[Pod], expected: list[str]) -> None:
    """Wait until each of the pods serves these models and no other."""
    await eventually(lambda: all(serving(pod) == expected for pod in pods))


async def changed(hub: Hub, what: str) -> bool:
    """Whether a load or an unload succeeds."""
    return (await change(hub, what))[0] == 200


async def forgotten(hub: Hub) -> bool:
    """Whether the store is there, and keeps nothing."""
    try:
        return not await wishes(hub)
    except HubError:
        return False


async def test_a_pod_that_starts_later_has_what_the_others_have(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models) as pods:
        name = Name(*pods)  # type: ignore[arg-type]
        async with loading_gateway(tmp_path, *pods, name=name, resolve_s=0.1) as hub:
            await change(hub, "load")
            await change(hub, "load", "quick")
            await change(hub, "unload", "quick")
            async with calling_pod(models, model_control="explicit", load_models=("quick",)) as third:
                assert serving(third) == ["quick"], "as its own setting says"
                name.addresses.add(third.address)
                await eventually(lambda: serving(third) == ["m"])
                assert [serving(pod) for pod in pods] == [["m"]] * 2
                name.addresses.remove(third.address)


async def test_a_pod_that_starts_anew_has_it_again(models: Path, tmp_path: Path) -> None:
    port = free_port()
    settings: dict[str, Any] = {"model_control": "explicit", "port": port}
    async with AsyncExitStack() as stack:
        async with calling_pod(models, **settings) as pod:
            hub = await stack.enter_async_context(loading_gateway(tmp_path, pod))
            await change(hub, "load")
        async with calling_pod(models, **settings) as pod:
            await eventually(lambda: serving(pod) == ["m"])
            await eventually(lambda: hub.gateway.table.is_open("m", ""))
            assert await value(hub) == 1


async def test_a_load_that_no_pod_can_make_hides_no_wish(models: Path, tmp_path: Path) -> None:
    async with pods_to_load(models, 1) as pods, loading_gateway(tmp_path, *pods) as hub:
        assert await change(hub, "load") == (200, "")
    async with pods_to_load(models, 1) as pods, loading_gateway(tmp_path, *pods) as hub:
        # It comes before the gateway tells the new pod of the load before.
        assert (await change(hub, "load", config="{"))[0] == 400
        await eventually(lambda: serving(pods[0]) == ["m"], 10)


async def test_a_model_that_comes_later_to_one_pod_is_loaded_there(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mock_model(tmp_path / "other", "quick")
    async with (
        calling_pod(models, model_control="explicit") as first,
        calling_pod(tmp_path / "other", model_control="explicit", repository_poll_s=0.05) as second,
        loading_gateway(tmp_path, first, second) as hub,
    ):
        caplog.set_level(logging.INFO)
        channel = hub.gateway.fleet.pods[second.address].channel
        assert await change(hub, "load") == (200, "")
        said = [record.__dict__ for record in caplog.records if record.message == "pod is not as wished"]
        assert [(line["pod"], line["model"]) for line in said] == [(second.address, "m")]
        valued(tmp_path / "other", {"1": "7"})
        await eventually(lambda: serving(second) == ["m"])
        assert await answer(second) == 7
        assert hub.gateway.fleet.pods[second.address].channel is channel, "it was not connected anew"


def test_a_pod_is_told_again_after_pauses_that_grow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wish = Wish("m", 5, True, "")
    for kind, pauses in (
        (Kind.NOT_READY, [1, 2, 4, 8, 16, 32, 60, 60]),
        (Kind.BAD_INPUT, [10, 20, 40, 60, 60]),
    ):
        told, seen = Told(5), []
        caplog.clear()
        for number in range(len(pauses)):
            told = after(told, wish, Outcome("pod", kind, f"no {number // 3}"))
            assert 0 < told.again - monotonic() <= told.pause
            seen.append(told.pause)
        assert seen == pauses
        assert len(caplog.records) == -(-len(pauses) // 3), "a sentence is written once"
    assert after(told, wish, Outcome("pod")) == Told(5, made=True)
    assert after(told, wish, Outcome("pod", Kind.CONFLICT, "later")).again == inf, "no try would help"
    assert after(told, Wish("m", 5, False, ""), Outcome("pod", Kind.NOT_FOUND, "no")).made


async def test_a_gateway_that_starts_anew_keeps_the_wish_and_loads_nothing_twice(
    models: Path, tmp_path: Path
) -> None:
    async with pods_to_load(models) as pods:
        name = Name(*pods)  # type: ignore[arg-type]
        async with loading_gateway(tmp_path, *pods) as hub:
            await change(hub, "load")
            kept = await wishes(hub)
        (models / "m" / "1" / "value.txt").write_text("2")
        async with loading_gateway(tmp_path, *pods, name=name, resolve_s=0.1) as hub:
            assert await wishes(hub) == kept
            async with calling_pod(models, model_control="explicit") as third:
                name.addresses.add(third.address)
                await eventually(lambda: serving(third) == ["m"])
                assert await answer(third) == 2, "as the repository is now"
                assert [await answer(pod) for pod in pods] == [1, 1], "nobody told them anew"
                name.addresses.remove(third.address)
            await change(hub, "load")
            assert [await answer(pod) for pod in pods] == [2, 2]


@pytest.mark.long
async def test_two_gateways_know_one_wish_and_do_not_fight(
    models: Path, tmp_path: Path, valkey: Valkey
) -> None:
    async with pods_to_load(models) as pods, AsyncExitStack() as stack:
        name = Name(*pods)  # type: ignore[arg-type]
        chosen = {"jobs": valkey.url, "name": name, "resolve_s": 0.1}
        one, two = [
            await stack.enter_async_context(loading_gateway(tmp_path, *pods, **chosen)) for _ in range(2)
        ]
        assert await change(one, "load") == (200, "")
        assert await wishes(two) == await wishes(one)
        await eventually(lambda: two.gateway.table.is_open("m", ""))
        assert await value(two) == 1
        for _ in range(5):
            ended = await asyncio.gather(
                change(one, "load"), change(two, "unload"), change(two, "load", "quick")
            )
            assert {status for status, _ in ended} <= {200, 409}
            kept = await wishes(one)
            await all_serve(pods, [model for model in ("m", "quick") if kept[model][1]])
        await change(one, "load")
        async with calling_pod(models, model_control="explicit") as third:
            name.addresses.add(third.address)
            await eventually(lambda: serving(third) == ["m", "quick"])
            name.addresses.remove(third.address)


@pytest.mark.long
async def test_while_the_store_is_away_nothing_changes_but_later_pods_are_told(
    models: Path, tmp_path: Path, valkey: Valkey
) -> None:
    async with pods_to_load(models, 1) as pods:
        name = Name(*pods)  # type: ignore[arg-type]
        chosen = {"jobs": valkey.url, "name": name, "resolve_s": 0.1}
        async with loading_gateway(tmp_path, *pods, **chosen) as hub:
            assert await change(hub, "load") == (200, "")
            control = hub.gateway.control
            assert control is not None
            await eventually(lambda: "m" in control._wishes)
            await valkey.stop()
            assert await change(hub, "unload") == (503, "the store of jobs cannot be reached")
            assert await value(hub) == 1
            async with calling_pod(models, model_control="explicit") as second:
                name.addresses.add(second.address)
                await eventually(lambda: serving(second) == ["m"])
                name.addresses.remove(second.address)
            await valkey.start()
            await until(lambda: changed(hub, "unload"))
            assert serving(pods[0]) == []


async def test_a_store_that_begins_anew_takes_wishes_again(
    models: Path, tmp_path: Path, valkey: Valkey
) -> None:
    async with pods_to_load(models, 1) as pods, loading_gateway(tmp_path, *pods, jobs=valkey.url) as hub:
        assert await change(hub, "load") == (200, "")
        first = await wishes(hub)
        await valkey.stop()
        for file in await asyncio.to_thread(list, (tmp_path / "valkey").glob("appendonlydir/*")):
            file.unlink()
        await valkey.start()
        await until(lambda: forgotten(hub))
        assert await value(hub) == 1, "what pods serve stays"
        assert await change(hub, "unload") == (200, ""), "its revision is higher than that of the old store"
        assert (await wishes(hub))["m"][0] > first["m"][0]
        assert serving(pods[0]) == []


async def test_a_wish_that_cannot_be_read_holds_up_no_later_one(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    valkey = Valkey(tmp_path)
    await valkey.start()
    async with pods_to_load(models) as pods, AsyncExitStack() as stack:
        name = Name(*pods)  # type: ignore[arg-type]
        settings: dict[str, Any] = {"jobs": valkey.url, "name": name, "resolve_s": 0.1}
        hub = await stack.enter_async_context(loading_gateway(tmp_path, *pods, **settings))
        await change(hub, "load")
        client = await stack.enter_async_context(Redis.from_url(valkey.url))
        prefix = "{inferencehub}:"
        await client.hset(
            f"{prefix}wishes", "quick", '1 ["quick", 1, true, "", "what a later release knows"]'
        )
        await client.set(f"{prefix}wish_mark", "1")
        await eventually(lambda: "wishes of models can't be read" in caplog.text)
        await all_serve(pods, ["m"])
        assert caplog.text.count("wishes of models can't be read") == 1
        await client.hset(f"{prefix}wishes", "quick", '2 ["quick", 2, true, ""]')
        await all_serve(pods, ["m", "quick"])
    await valkey.stop()
