"""A new version that fails or is slow loses its weight, and nothing else does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inferencehub.gateway.routing.traffic.contents import read_traffic
from inferencehub.gateway.routing.traffic.rollback import RollbackEntry, Watch
from tests.cycles import unfreed, without_collector
from tests.gateway.routing.traffic.versions import INFER, TWO_NUMBERS, changed, metric, split_hub, traffic_of
from tests.hub import Hub, write_model

MODEL = """
import time

class Model:
    def __init__(self, directory, parameters):
        self.new = directory.name == "2"
        self.directory = directory

    async def predict(self, inputs):
        if (self.directory / "broken").exists():
            raise RuntimeError("it is broken")
        if (self.directory / "slow").exists():
            time.sleep(0.06)
        return {"y": inputs["features"] * (2 if self.new else 1)}
"""
CONFIG = """backend: "python" version_policy { all { } }
    input { name: "features" data_type: TYPE_FP32 dims: [ -1 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }"""
ENTRY = {
    "weights": {"stable": 50, "canary": 50},
    "aliases": {"stable": "1", "canary": "2"},
    "rollback": {"version": "canary", "error_share": 0.1, "p99_ms": 50, "calls": 20},
}


def models(tmp_path: Path) -> Path:
    """Model `m` in two versions; its version 2 doubles, and fails or is slow if a file of that name is beside it."""
    write_model(tmp_path / "models", "m", CONFIG, {"1/model.py": MODEL, "2/model.py": MODEL})
    return tmp_path / "models" / "m" / "2"


async def asked(hub: Hub, calls: int, path: str = INFER) -> list[tuple[int, str]]:
    """Status and version of some calls, one after the other, as they end."""
    found = []
    for _ in range(calls):
        status, _, headers = await hub.post(path, TWO_NUMBERS)
        found.append((status, headers["x-model-version"]))
    return found


@pytest.mark.parametrize(("how", "status"), [("broken", 500), ("slow", 200)])
async def test_a_version_that_fails_or_is_slow_loses_its_weight(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, status: int
) -> None:
    (models(tmp_path) / how).touch()
    async with split_hub(tmp_path, ENTRY) as hub:
        gauge = 'inferencehub_gateway_traffic_rolled_back{model="m",version="2"}'
        assert await metric(hub, gauge) == 0
        found = await asked(hub, 100)
        assert found.count((status, "2")) == 20
        assert set(found) == {(status, "2"), (200, "1")}
        assert await metric(hub, gauge) == 1
        assert await metric(hub, 'inferencehub_gateway_traffic_share{model="m",version="2"}') == 0
        assert await metric(hub, 'inferencehub_gateway_traffic_share_wanted{model="m",version="2"}') == 0.5
        (record,) = [one for one in caplog.records if one.getMessage().startswith("a version is rolled back")]
        why = {
            "broken": "20 of 20 calls in 60 s failed, at most the share 0.1 may",
            "slow": "20 of 20 calls in 60 s took longer than 50 ms, at most one in a hundred may",
        }[how]
        assert record.levelno == logging.ERROR
        assert (record.__dict__["version"], record.__dict__["why"]) == ("2", why)
        _, shown, _ = await hub.get("/v2/models/m/traffic")
        stable, canary = shown["versions"]
        outcome = "failed" if how == "broken" else "ok"
        assert (canary["rolled_back"], canary["weight"], canary["calls"][outcome]) == (why, 0, 20)
        assert (stable["rolled_back"], stable["share"], stable["aliases"]) == ("", 1, ["stable"])
        # Who names the version still gets it.
        assert await asked(hub, 1, "/v2/models/m/versions/canary/infer") == [(status, "2")]


async def test_a_call_that_was_drawn_leaves_no_cycle(tmp_path: Path) -> None:
    (models(tmp_path) / "broken").touch()
    async with split_hub(tmp_path, {"weights": {"1": 1, "2": 1}}) as hub:
        await asked(hub, 10)
        with without_collector():
            assert set(await asked(hub, 20)) == {(200, "1"), (500, "2")}
            assert not unfreed()


async def test_it_stays_so_until_the_entry_changes(tmp_path: Path) -> None:
    broken = models(tmp_path) / "broken"
    broken.touch()
    async with split_hub(tmp_path, ENTRY) as hub:
        await asked(hub, 100)
        assert traffic_of(hub).splits["m"].rolled_back
        broken.unlink()
        changed(hub, tmp_path / "traffic.json", ENTRY)
        assert set(await asked(hub, 30)) == {(200, "1")}
        changed(hub, tmp_path / "traffic.json", {**ENTRY, "weights": {"stable": 1, "canary": 1}})
        assert set(await asked(hub, 50)) == {(200, "1"), (200, "2")}


async def test_mistakes_of_callers_and_a_version_that_is_not_watched_roll_nothing_back(
    tmp_path: Path,
) -> None:
    (models(tmp_path).parent / "1" / "broken").touch()
    rule = {"version": "canary", "error_share": 0.1, "calls": 20}
    async with split_hub(tmp_path, {**ENTRY, "rollback": rule}) as hub:
        wrong = {"inputs": [{**TWO_NUMBERS["inputs"][0], "shape": [3]}]}
        for _ in range(40):
            assert (await hub.post(INFER, wrong))[0] == 400
        assert (500, "1") in await asked(hub, 60)
        assert not traffic_of(hub).splits["m"].rolled_back


async def test_nothing_is_rolled_back_to_versions_that_are_not_served(tmp_path: Path) -> None:
    (models(tmp_path) / "broken").touch()
    async with split_hub(tmp_path, {**ENTRY, "aliases": {"stable": "7", "canary": "2"}}) as hub:
        assert set(await asked(hub, 40)) == {(500, "2")}
        assert not traffic_of(hub).splits["m"].rolled_back


async def test_the_page_of_a_model_without_an_entry(tmp_path: Path) -> None:
    async with split_hub(tmp_path, {"aliases": {"stable": "1"}}) as hub:
        status, shown, _ = await hub.get("/v2/models/other/traffic")
        assert (status, shown["error"]) == (
            404,
            "model 'other' has no entry in a file of traffic (HUB_TRAFFIC)",
        )
        _, shown, _ = await hub.get("/v2/models/m/traffic")
        calls = {"ok": 0, "failed": 0, "refused": 0}
        version = {"version": "1", "aliases": ["stable"], "weight": 0, "share": 0, "rolled_back": ""}
        assert shown == {
            "model": "m",
            "sticky": "",
            "versions": [{**version, "calls": calls}],
            "shadow": None,
        }


# --- the rule ---


def test_few_calls_decide_nothing_and_old_ones_are_forgotten() -> None:
    watch = Watch(RollbackEntry("2", error_share=0.5, calls=10, window_s=10))
    assert not any(watch.ended(now, True, 0.0) for now in (0.5, *[1.5] * 8))
    assert not watch.ended(10.2, False, 0.0), "that of 0.5 s is older than the window"
    assert not any(watch.ended(12.0, False, 0.0) for _ in range(20)), "and so are those of 1.5 s"
    assert watch.ended(12.0, True, 0.0) == ""
    for _ in range(20):
        assert not watch.ended(12.5, True, 0.0)
    assert watch.ended(12.5, True, 0.0) == "22 of 43 calls in 10 s failed, at most the share 0.5 may"


def test_the_99th_percentile_is_of_calls_that_succeed() -> None:
    watch = Watch(RollbackEntry("2", p99_ms=100, calls=10))
    assert not any(watch.ended(1.0, True, 9.0) for _ in range(1000))
    assert not any(watch.ended(1.0, False, 0.1) for _ in range(200))
    assert not any(watch.ended(1.0, False, 0.101) for _ in range(2))
    assert watch.ended(1.0, False, 0.101).startswith("3 of 1203 calls in 60 s took longer than 100 ms")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"version": "2"}, "rollback has no bound, expected error_share, p99_ms or both"),
        (
            {"version": "3", "p99_ms": 1},
            "rollback watches version '3', expected one of those in weights: '1': 0, '2': 1",
        ),
        (
            {"version": "2", "p99_ms": 1},
            "rollback watches version '2', but no other one has a weight above 0 and could get its calls",
        ),
        ({"version": "1", "p99_ms": 0}, "Expected `float` > 0.0 - at `$.rollback.p99_ms`"),
        ({"version": "1", "calls": 5, "p99_ms": 1}, "Expected `int` >= 10 - at `$.rollback.calls`"),
        ({"p99_ms": 1}, "Object missing required field `version` - at `$.rollback`"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(rule: dict[str, Any], sentence: str) -> None:
    entry = {"weights": {"1": 0, "2": 1}, "rollback": rule}
    with pytest.raises(ValueError, match="model 'm': ") as refused:
        read_traffic(msgspec.json.encode({"models": {"m": entry}}))
    assert str(refused.value) == f"model 'm': {sentence}"
