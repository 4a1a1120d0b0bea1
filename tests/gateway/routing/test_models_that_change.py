"""Pods whose models change while they run, as callers of the gateway see it: no call is lost, what is gone is 404."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest

from inferencehub.gateway.pods.replica import Replica
from tests.gateway.pods.test_replica import Refusing
from tests.hub import Hub, eventually, mock_model, pods_of, running_gateway, running_pod

BODY = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1], "data": [1]}]}
KEPT = "version_policy { latest { num_versions: 2 } }"
NEVER, SOON = 3600.0, 0.05


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with the versions 1 and 2 of a model, and another model."""
    mock_model(tmp_path, "m", delay_ms=2, more=KEPT)
    (tmp_path / "m" / "2").mkdir()
    mock_model(tmp_path, "other")
    return tmp_path


@asynccontextmanager
async def changing_hub(models: Path, *polls: float) -> AsyncIterator[Hub]:
    """A gateway, and a pod for each number of seconds between looks at the repository."""
    async with AsyncExitStack() as stack:
        pods = []
        for poll in polls:
            settings = {"model_control": "poll", "repository_poll_s": poll}
            pods += await stack.enter_async_context(pods_of(models, 1, settings))
        addresses = tuple(f"127.0.0.1:{pod.port}" for pod in pods)
        gateway = await stack.enter_async_context(running_gateway(addresses, hold_s=10.0))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        await eventually(lambda: sum(pod.up for pod in gateway.fleet.pods.values()) == len(pods))
        yield Hub(gateway, pods, client)


class Callers:
    """Clients that call one after the other without a pause: `statuses` counts the answers, `versions` whose they were.

    `errors` are what else was answered.
    """

    def __init__(self, hub: Hub, paths: dict[str, int]) -> None:
        self.hub = hub
        self.statuses: dict[str, Counter[int]] = {path: Counter() for path in paths}
        self.versions: dict[str, Counter[str]] = {path: Counter() for path in paths}
        self.errors: set[str] = set()
        self._tasks = [
            asyncio.ensure_future(self._call(path)) for path, count in paths.items() for _ in range(count)
        ]

    async def _call(self, path: str) -> None:
        while True:
            status, body, _ = await self.hub.post(f"/v2/models/{path}/infer", BODY)
            self.statuses[path][status] += 1
            if status == 200:
                self.versions[path][body["model_version"]] += 1
            else:
                self.errors.add(f"{status} {body['error']}")

    async def stop(self) -> None:
        """Let them end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_a_version_that_one_pod_takes_back_runs_at_the_other(models: Path) -> None:
    async with changing_hub(models, SOON, NEVER) as hub:
        callers = Callers(hub, {"m/versions/1": 8, "m": 2})
        await eventually(lambda: callers.statuses["m/versions/1"].total() > 50)
        (models / "m" / "3").mkdir()
        await eventually(lambda: list(hub.pods[0].models.of("m")) == ["2", "3"])
        seen = callers.statuses["m/versions/1"].total()
        await eventually(lambda: callers.statuses["m/versions/1"].total() > seen + 200)
        await callers.stop()
        assert {path: set(found) for path, found in callers.statuses.items()} == {
            "m/versions/1": {200}, "m": {200},
        }  # fmt: skip
        assert set(callers.versions["m"]) == {"2", "3"}, "each pod gives its newest one"


async def test_a_version_that_all_pods_take_back_is_unknown_at_once(models: Path) -> None:
    async with changing_hub(models, SOON, SOON) as hub:
        callers = Callers(hub, {"m/versions/1": 8, "m": 2, "m/versions/2": 2})
        await eventually(lambda: callers.statuses["m"].total() > 50)
        (models / "m" / "3").mkdir()
        await eventually(lambda: callers.statuses["m/versions/1"][404])
        await eventually(lambda: "3" in callers.versions["m"])
        await callers.stop()
        assert set(callers.statuses["m/versions/1"]) == {200, 404}, callers.errors
        assert set(callers.statuses["m"]) == set(callers.statuses["m/versions/2"]) == {200}
        status, body, _ = await hub.post("/v2/models/m/versions/1/infer", BODY)
        assert status == 404
        assert "version '1'" in body["error"]
        shutil.rmtree(models / "other")
        await eventually(lambda: all(pod.models.names() == ["m"] for pod in hub.pods))
        await eventually(lambda: ("other", "") not in hub.gateway.table.routes)
        assert (await hub.post("/v2/models/other/infer", BODY))[0] == 404


@asynccontextmanager
async def found_by_name(addresses: set[str]) -> AsyncIterator[Hub]:
    """A gateway that finds its pods by a name, whose addresses may change."""

    async def resolve(target: str) -> set[str]:
        return set(addresses)

    async with (
        running_gateway(("pods:1",), resolve_s=SOON, hold_s=0.2) as gateway,
        aiohttp.ClientSession() as client,
    ):
        gateway.fleet.discovery.resolve = resolve
        await eventually(lambda: all(pod.up for pod in gateway.fleet.pods.values()) and gateway.fleet.ready)
        yield Hub(gateway, [], client)


@pytest.mark.parametrize("pool", ["default", "another"])
async def test_a_model_is_gone_with_its_pod_if_the_pods_of_its_pool_do_not_have_it(
    tmp_path: Path, pool: str
) -> None:
    """Else its pods are lost for a while, or sleep: it is 503."""
    for name in ("kept", "old/kept", "old/removed"):
        mock_model(tmp_path / ("old" if "/" in name else "new"), name.rpartition("/")[2])
    async with running_pod(tmp_path / "old") as old, running_pod(tmp_path / "new", pool=pool) as new:
        addresses = {f"127.0.0.1:{old.port}"}
        async with found_by_name(addresses) as hub:
            assert (await hub.post("/v2/models/removed/infer", BODY))[0] == 200
            addresses.add(f"127.0.0.1:{new.port}")
            fleet = hub.gateway.fleet
            await eventually(lambda: len(fleet.pods) == 2 and all(pod.up for pod in fleet.pods.values()))
            assert (await hub.post("/v2/models/removed/infer", BODY))[0] == 200
            addresses.remove(f"127.0.0.1:{old.port}")
            await eventually(lambda: len(fleet.pods) == 1)
            there = await hub.post("/v2/models/removed/infer", BODY)
            models = set(hub.gateway.table.models())
            if pool == "default":
                assert there[0] == 404, there
                assert models == {"kept"}
            else:
                assert there[0] == 503, there
                assert models == {"kept", "removed"}


class RefusesLate(Refusing):
    """A pod that refuses work, but not before `now` is set."""

    def __init__(self) -> None:
        super().__init__(full=True)
        self.now = asyncio.Event()

    async def infer(self, *args: Any) -> Any:
        await self.now.wait()
        return await super().infer(*args)


async def test_a_call_that_comes_back_when_its_version_has_gone_is_told_so(models: Path) -> None:
    """It is on its way to a pod while all calls that wait are refused, and that pod has taken the version back too."""
    async with changing_hub(models, NEVER) as hub:
        (lane,) = hub.gateway.table.routes["m", "1"]
        pod = RefusesLate()
        replica = Replica(pod, lane.info)
        lane.set_replicas([replica])
        call = asyncio.ensure_future(hub.post("/v2/models/m/versions/1/infer", BODY))
        await eventually(lambda: replica.in_flight)
        lane.set_replicas([])
        lane.withdraw("1")
        pod.now.set()
        status, body, _ = await call
        assert (status, body["error"]) == (404, "version '1' of model 'm' was served and is no more")


@pytest.mark.timing
async def test_a_new_model_is_seen_soon(models: Path) -> None:
    async with changing_hub(models, SOON) as hub:
        await asyncio.sleep(1)  # the list has been read after the start
        mock_model(models, "new")
        began = monotonic()
        await eventually(lambda: ("new", "") in hub.gateway.table.routes)
        assert monotonic() - began < 4, "it does not wait for the next regular reading"


async def test_the_index_tells_what_is_wrong_with_a_model_that_serves(models: Path) -> None:
    async with changing_hub(models, SOON) as hub:
        config = models / "other" / "config.pbtxt"
        config.write_text(config.read_text().replace('"mock"', '"nothing"'))
        (models / "other" / "1" / "file").write_text("")
        index: list[dict[str, str]] = []
        while not any(entry["name"] == "other" and entry["version"] == "" for entry in index):
            _, index, _ = await hub.post("/v2/repository/index")
        states = {(entry["name"], entry["version"]): entry for entry in index}
        assert states["other", "1"]["state"] == "READY"
        assert "backend 'nothing' is unknown" in states["other", ""]["reason"]
        assert (await hub.post("/v2/models/other/infer", BODY))[0] == 200
