"""Calls and lists of the Kubernetes API over real TLS, and their failures: no failure ends a watched list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.scaler import kube as module
from inferencehub.scaler.demand.total import PATIENCE_S
from inferencehub.scaler.kube import Kube, KubeError, named
from tests.hub import eventually
from tests.scaler.kubernetes import TOKEN, Kubernetes, kubernetes

THINGS = "/api/v1/namespaces/prod/things"


@asynccontextmanager
async def followed(kube: Kube, path: str = THINGS, **selectors: str) -> AsyncIterator[list[set[str]]]:
    """The names in a list, each time that it is told."""
    told: list[set[str]] = []

    async def follow() -> None:
        async for items in kube.follow(path, **selectors):
            told.append({item["metadata"]["name"] for item in items})

    task = asyncio.create_task(follow())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stands(server: Kubernetes) -> None:
    await eventually(lambda: server.watched == 1)


async def test_a_list_is_told_and_each_change_of_it(tmp_path: Path) -> None:
    async with kubernetes(tmp_path) as (server, kube):
        server.write(f"{THINGS}/a")
        server.write("/api/v1/namespaces/test/things/other")
        async with followed(kube) as told:
            await stands(server)
            server.write(f"{THINGS}/b")
            server.write(f"{THINGS}/a")
            server.write("/api/v1/namespaces/test/things/other")
            server.delete(f"{THINGS}/b")
            await eventually(lambda: len(told) == 4)
            assert told == [{"a"}, {"a", "b"}, {"a", "b"}, {"a"}]
            assert server.count("GET") == 2


async def test_of_all_namespaces_and_by_label_and_name(tmp_path: Path) -> None:
    async with kubernetes(tmp_path) as (server, kube):
        server.write(f"{THINGS}/a", {"metadata": {"labels": {"x/demand": "true"}}})
        server.write(f"{THINGS}/b")
        server.write("/api/v1/namespaces/test/things/c", {"metadata": {"labels": {"x/demand": "true"}}})
        async with followed(kube, "/api/v1/things", labelSelector="x/demand=true") as told:
            await eventually(lambda: told == [{"a", "c"}])
        async with followed(kube, **named("b")) as told:
            await eventually(lambda: told == [{"b"}])


async def lose(server: Kubernetes) -> None:
    server.cut()


async def too_old(server: Kubernetes) -> None:
    server.error()


async def expire(server: Kubernetes) -> None:
    """The token of all calls from now on is one that the client does not have yet."""
    server.tokens = {"second"}
    server.cut()
    calls = len(server.calls)
    await eventually(lambda: len(server.calls) >= calls + 2)
    (server.credentials / "token").write_text("second\n")


async def restart(server: Kubernetes) -> None:
    """It is away for a moment, and comes back with a certificate of another authority, as after a rotation."""
    await server.stop()
    await asyncio.sleep(0.3)
    await server.start(int(server.url.rpartition(":")[2]))


@pytest.mark.parametrize("trouble", [lose, too_old, expire, restart])
async def test_after_trouble_the_list_is_read_anew(tmp_path: Path, trouble: object) -> None:
    assert callable(trouble)
    async with kubernetes(tmp_path) as (server, kube):
        server.write(f"{THINGS}/a")
        async with followed(kube) as told:
            await stands(server)
            server.mute = True  # what changes meanwhile is not told
            server.write(f"{THINGS}/b")
            server.mute = False
            await trouble(server)
            await eventually(lambda: told[-1] == {"a", "b"})
            await stands(server)
            server.write(f"{THINGS}/c")
            await eventually(lambda: told[-1] == {"a", "b", "c"})


async def test_a_watch_that_says_nothing_any_more_is_not_believed_for_long(tmp_path: Path) -> None:
    async with kubernetes(tmp_path, watch_s=1, late_s=0.5) as (server, kube):
        server.mute = True
        async with followed(kube) as told:
            await stands(server)
            server.write(f"{THINGS}/a")
            await eventually(lambda: told[-1] == {"a"})
            assert told[0] == set()
            assert server.count(f"GET {THINGS}?watch=1&timeoutSeconds=1&") >= 1


def test_such_a_watch_is_found_out_while_there_is_still_a_reading() -> None:
    assert module.WATCH_S + module.LATE_S + module.PAUSE_S + module.CALL_S < PATIENCE_S


async def test_watches_that_end_at_once_are_no_flood(tmp_path: Path) -> None:
    async with kubernetes(tmp_path) as (server, kube):
        server.short = True
        async with followed(kube):
            began = monotonic()
            await eventually(lambda: server.count(f"GET {THINGS}?watch") >= 6)
        assert monotonic() - began >= 5 * kube.pause_s


async def test_a_call_says_what_was_refused(tmp_path: Path) -> None:
    async with kubernetes(tmp_path) as (server, kube):
        server.write(f"{THINGS}/a", {"spec": {"x": 1, "y": 2}})
        assert (await kube.call("PATCH", f"{THINGS}/a", {"spec": {"x": 3}}))["spec"] == {"x": 3, "y": 2}
        stale = {"metadata": {"resourceVersion": "1"}, "spec": {}}
        for method, path, body, status in (
            ("PUT", f"{THINGS}/a", stale, 409),
            ("GET", f"{THINGS}/a/thing", None, 404),
            ("DELETE", f"{THINGS}/b", None, 404),
        ):
            with pytest.raises(KubeError) as refused:
                await kube.call(method, path, body)
            assert refused.value.status == status
        server.tokens = set()
        with pytest.raises(KubeError, match="401 Unauthorized"):
            await kube.call("GET", f"{THINGS}/a")
        assert TOKEN not in str(refused.value)
        await server.stop()
        with pytest.raises(KubeError) as refused:
            await kube.call("GET", f"{THINGS}/a")
        assert refused.value.status == 0


async def test_who_has_another_authority_is_not_kubernetes(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Kubernetes(tmp_path / "other")
    await other.start()
    async with kubernetes(tmp_path) as (_, kube):
        kube.url = other.url
        with pytest.raises(KubeError, match="certificate"):
            await kube.call("GET", "/api/v1/things")
    await other.stop()
    assert other.calls == []
