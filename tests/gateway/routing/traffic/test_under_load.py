"""Two versions under load, in pods that are processes: 90/10, promotion and rollback, with no call failed and none wrong."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.pod_processes import gateway_to, pods_of
from tests.gateway.routing.traffic.test_choice import within
from tests.gateway.routing.traffic.test_rollback import models
from tests.gateway.routing.traffic.versions import traffic_of, write
from tests.hub import Hub, eventually

pytestmark = pytest.mark.long

ALIASES = {"stable": "1", "canary": "2"}
WORKERS = 16


class Answers:
    """Calls that never end, each answer checked: the version of an answer must be the one that made its value."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.by_version: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.wrong: list[Any] = []
        self.of_user: dict[str, set[str]] = {}
        self.sent = [0] * WORKERS
        self.ending = False

    @property
    def total(self) -> int:
        """How many answers came."""
        return sum(self.by_version.values())

    async def work(self, worker: int) -> None:
        """One call after the other, until `ending`."""
        number = 0
        while not self.ending:
            self.sent[worker] = number = number + 1
            user = f"{worker}-{number % 50}"
            value = float(worker * 1000 + number % 1000)
            body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1], "data": [value]}]}
            async with self.hub.client.post(
                "/v2/models/m/infer", json=body, headers={"x-user": user}
            ) as answer:
                found = await answer.json()
                version = answer.headers["x-model-version"]
            if answer.status != 200:
                self.failed[version] += 1
                continue
            self.by_version[version] += 1
            self.of_user.setdefault(user, set()).add(version)
            if (found["model_version"], found["outputs"][0]["data"]) != (version, [value * int(version)]):
                self.wrong.append((version, value, found))


@asynccontextmanager
async def load_on(hub: Hub) -> AsyncIterator[Answers]:
    """Load on a gateway, once it knows both versions."""
    await eventually(lambda: hub.gateway.table.versions("m") == ["1", "2"])
    answers = Answers(hub)
    async with asyncio.TaskGroup() as group:
        for worker in range(WORKERS):
            group.create_task(answers.work(worker))
        try:
            yield answers
        finally:
            answers.ending = True
    print(dict(answers.by_version), dict(answers.failed))


@asynccontextmanager
async def under_load(tmp_path: Path, entry: dict[str, Any]) -> AsyncIterator[tuple[Hub, Answers]]:
    """Two pods that both serve both versions, a gateway with this entry for the model, and load on it."""
    write(tmp_path / "traffic.json", {"m": {"aliases": ALIASES, **entry}})
    repository = tmp_path / "models"
    async with (
        pods_of(repository, repository) as pods,
        gateway_to(*pods, traffic=str(tmp_path / "traffic.json"), hold_s=20.0) as hub,
        load_on(hub) as answers,
    ):
        yield hub, answers


async def rewritten(hub: Hub, tmp_path: Path, entry: dict[str, Any]) -> None:
    """Another entry for the model, once the gateway has seen it by itself."""
    before = traffic_of(hub).reloads
    write(tmp_path / "traffic.json", {"m": {"aliases": ALIASES, **entry}})
    await eventually(lambda: traffic_of(hub).reloads > before)


async def after(answers: Answers, more: int) -> None:
    """Wait until so many more answers have come: as long as that takes, while some come each minute."""
    until = answers.total + more
    while (so_far := answers.total) < until:
        await eventually(lambda so_far=so_far: answers.total > so_far, 60.0)


async def settled(answers: Answers) -> None:
    """Wait until all calls have ended that are on their way."""
    before = list(answers.sent)
    await eventually(lambda: all(now > then for now, then in zip(answers.sent, before, strict=True)))


async def test_ninety_to_ten_then_promotion_then_back(tmp_path: Path) -> None:
    models(tmp_path)
    async with under_load(tmp_path, {"weights": {"stable": 90, "canary": 10}}) as (hub, answers):
        await after(answers, 3000)
        first = Counter(answers.by_version)
        assert within(first["2"], 0.1, sum(first.values())), first
        await rewritten(hub, tmp_path, {"weights": {"stable": 0, "canary": 1}})
        await settled(answers)
        promoted = answers.by_version["1"]
        await after(answers, 1000)
        assert answers.by_version["1"] == promoted
        await rewritten(hub, tmp_path, {"weights": {"stable": 1, "canary": 0}})
        await settled(answers)
        back = answers.by_version["2"]
        await after(answers, 1000)
        assert answers.by_version["2"] == back
    assert not answers.failed
    assert not answers.wrong


async def test_callers_stay_where_they_are(tmp_path: Path) -> None:
    models(tmp_path)
    async with under_load(tmp_path, {"weights": {"stable": 80, "canary": 20}, "sticky": "x-user"}) as (
        hub,
        answers,
    ):
        await after(answers, 3000)
        before = {user: set(versions) for user, versions in answers.of_user.items()}
        assert len(before) == 50 * WORKERS
        assert all(len(versions) == 1 for versions in before.values())
        assert within(sum(versions == {"2"} for versions in before.values()), 0.2, len(before))
        await rewritten(hub, tmp_path, {"weights": {"stable": 70, "canary": 30}, "sticky": "x-user"})
        await settled(answers)
        answers.of_user.clear()
        await after(answers, 3000)
        now = dict(answers.of_user)
        assert all(len(versions) == 1 for versions in now.values())
        assert not [user for user, versions in now.items() if before[user] == {"2"} and versions == {"1"}]
        assert within(sum(versions == {"2"} for versions in now.values()), 0.3, len(now))
    assert not answers.failed
    assert not answers.wrong


async def test_a_canary_that_breaks_is_rolled_back(tmp_path: Path) -> None:
    """And then no call fails: only those that it had until the bound was crossed."""
    broken = models(tmp_path) / "broken"
    rule = {"version": "canary", "error_share": 0.05, "calls": 50, "window_s": 5}
    async with under_load(tmp_path, {"weights": {"stable": 80, "canary": 20}, "rollback": rule}) as (
        hub,
        answers,
    ):
        await after(answers, 2000)
        assert not answers.failed
        broken.touch()
        await eventually(lambda: traffic_of(hub).splits["m"].rolled_back)
        await settled(answers)
        failed, canary = answers.failed["2"], answers.by_version["2"]
        await after(answers, 2000)
        assert (answers.failed["2"], answers.by_version["2"]) == (failed, canary)
        assert list(answers.failed) == ["2"]
    assert not answers.wrong


async def test_a_version_whose_pod_goes_costs_no_call(tmp_path: Path) -> None:
    """One pod has version 1, another one version 2, and the second one ends."""
    models(tmp_path / "new")
    models(tmp_path / "old")
    for repository, gone in (("old", "2"), ("new", "1")):
        directory = tmp_path / repository / "models" / "m" / gone
        directory.rename(tmp_path / f"unused-{repository}")
    write(tmp_path / "traffic.json", {"m": {"weights": {"1": 50, "2": 50}}})
    repositories = (tmp_path / "old" / "models", tmp_path / "new" / "models")
    async with (
        pods_of(*repositories) as (old, new),
        gateway_to(old, new, traffic=str(tmp_path / "traffic.json"), hold_s=20.0) as hub,
        load_on(hub) as answers,
    ):
        await after(answers, 1000)
        assert answers.by_version.keys() == {"1", "2"}
        new.send(signal.SIGTERM)
        await eventually(lambda: hub.gateway.table.versions("m") == ["1"])
        before = answers.by_version["2"]
        await after(answers, 1000)
        assert answers.by_version["2"] <= before + WORKERS
    assert not answers.failed
    assert not answers.wrong
