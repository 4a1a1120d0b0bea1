"""The activator: it sets 0 pods to 1 at once, 1 to 0 after a time without demand, and changes nothing above 1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.process.settings import SettingError
from inferencehub.scaler.activator import Activator, Quiet
from inferencehub.scaler.demand.total import Reading
from inferencehub.scaler.settings import ScalerSettings, Target
from tests.scaler.kubernetes import Kubernetes, kubernetes


def test_demand_brings_the_first_pod() -> None:
    assert Quiet(60).wanted(0, 0.25, at=0) == 1


@pytest.mark.parametrize("demand", [0.0, None])
def test_without_demand_nothing_comes(demand: float | None) -> None:
    quiet = Quiet(60)
    assert [quiet.wanted(0, demand, at) for at in (0, 100)] == [None, None]


def test_the_last_pod_goes_after_a_quiet_time() -> None:
    quiet = Quiet(60)
    assert [quiet.wanted(1, 0.0, at) for at in (0, 30, 59.9, 60)] == [None, None, None, 0]


@pytest.mark.parametrize("demand", [0.01, None])
def test_demand_or_doubt_begins_the_quiet_time_anew(demand: float | None) -> None:
    quiet = Quiet(60)
    assert quiet.wanted(1, 0.0, at=0) is None
    assert quiet.wanted(1, demand, at=59) is None
    assert quiet.wanted(1, 0.0, at=60) is None
    assert quiet.wanted(1, 0.0, at=119) is None
    assert quiet.wanted(1, 0.0, at=120) == 0


def test_a_pod_that_somebody_else_started_has_its_quiet_time_too() -> None:
    """A person who warms a pool that slept all night."""
    quiet = Quiet(60)
    assert [quiet.wanted(0, 0.0, at) for at in (0, 1000)] == [None, None]
    assert [quiet.wanted(1, 0.0, at) for at in (1001, 1060, 1061)] == [None, None, 0]


@given(
    replicas=st.integers(2, 100),
    demands=st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=20),
)
def test_more_than_one_pod_is_the_autoscalers(replicas: int, demands: list[float | None]) -> None:
    quiet = Quiet(1)
    assert {quiet.wanted(replicas, demand, float(at)) for at, demand in enumerate(demands)} <= {None}


@pytest.mark.parametrize("demand", [0.0, 0.25, None])
def test_a_pool_that_never_sleeps_is_woken_whatever_is_known(demand: float | None) -> None:
    """It slept before this was switched off, and its autoscaler does nothing at 0."""
    quiet = Quiet(None)
    assert [quiet.wanted(count, demand, at=at) for at, count in enumerate((0, 0, 1, 1, 5))] == [
        1,
        1,
        None,
        None,
        None,
    ]


@given(replicas=st.integers(0, 1), demands=st.lists(st.one_of(st.none(), st.floats(0, 9)), max_size=50))
def test_no_step_goes_beyond_one(replicas: int, demands: list[float | None]) -> None:
    quiet = Quiet(3)
    for at, demand in enumerate(demands):
        wanted = quiet.wanted(replicas, demand, float(at))
        assert wanted in (None, 1 - replicas)
        assert not (demand and wanted == 0)
        replicas = replicas if wanted is None else wanted


SCALE = "/apis/apps/v1/namespaces/prod/deployments/hub/scale"


@asynccontextmanager
async def pool(
    directory: Path, replicas: int, quiet_s: float | None = 0.0
) -> AsyncIterator[tuple[Kubernetes, Activator]]:
    """A pool with so many replicas, and its activator."""
    async with kubernetes(directory) as (server, kube):
        server.write(SCALE, {"spec": {"replicas": replicas}})
        yield server, Activator(kube, "prod", "gpu", Target("hub", quiet_s), lambda pool, count: None)


def replicas_of(server: Kubernetes) -> int:
    return int(server.objects[SCALE]["spec"]["replicas"])


def reading(now: float, complete: bool = True) -> Reading:
    return Reading({"gpu": now}, {"gpu": now}, 15.0, 0.0, 2, 2 if complete else 1)


@pytest.mark.parametrize("known", [reading(0.25), None])
async def test_one_request_wakes_a_pool_whatever_else_is_known(tmp_path: Path, known: Reading | None) -> None:
    async with pool(tmp_path, 0) as (server, activator):
        await activator.look(known, {"default": 9.0})
        assert replicas_of(server) == (1 if known else 0)
        await activator.look(known, {"gpu": 0.25})
        assert replicas_of(server) == 1


@pytest.mark.parametrize(
    ("known", "told", "left"),
    [
        (reading(0.0), {"gpu": 0.0}, 0),
        (reading(0.0), {}, 0),
        (reading(0.0, complete=False), {"gpu": 0.0}, 1),
        (None, {"gpu": 0.0}, 1),
        (reading(0.1), {"gpu": 0.1}, 1),
    ],
)
async def test_the_last_pod_goes_only_where_all_have_said_so(
    tmp_path: Path, known: Reading | None, told: dict[str, float], left: int
) -> None:
    async with pool(tmp_path, 1) as (server, activator):
        await activator.look(known, told)
        assert replicas_of(server) == left


@pytest.mark.parametrize("known", [reading(0.0), reading(0.0, complete=False), None])
async def test_a_pool_that_never_sleeps_does_not_stay_at_zero(tmp_path: Path, known: Reading | None) -> None:
    async with pool(tmp_path, 0, None) as (server, activator):
        await activator.look(known, {})
        assert replicas_of(server) == 1
        await activator.look(known, {})
        assert replicas_of(server) == 1


async def test_a_scaler_that_ends_wakes_pools_and_puts_none_to_sleep(tmp_path: Path) -> None:
    """The one that follows it may have other rules, and both are there for a while."""
    async with pool(tmp_path, 1) as (server, activator):
        await activator.look(reading(0.0), {}, last=True)
        assert replicas_of(server) == 1
    (tmp_path / "asleep").mkdir()
    async with pool(tmp_path / "asleep", 0) as (server, activator):
        await activator.look(reading(0.0), {"gpu": 0.25}, last=True)
        assert replicas_of(server) == 1


async def test_who_was_faster_wins(tmp_path: Path) -> None:
    async with pool(tmp_path, 1) as (server, activator):
        server.between = lambda path: server.write(SCALE, {"spec": {"replicas": 2}})
        await activator.look(reading(0.0), {})
        assert replicas_of(server) == 2


def test_targets_are_read() -> None:
    settings = ScalerSettings(
        metrics_api=False,
        release="hub",
        activate=("default=hub-default:300", "gpu=hub-gpu:60", "cpu=hub-cpu"),
    )
    assert settings.targets() == {
        "default": Target("hub-default", 300.0),
        "gpu": Target("hub-gpu", 60.0),
        "cpu": Target("hub-cpu", None),
    }


@pytest.mark.parametrize(
    "entry", ["default", "default=hub:", "default=hub:soon", "=hub:60", "default=:60", "=hub", "default="]
)
def test_what_is_no_target_is_refused(entry: str) -> None:
    with pytest.raises(SettingError, match="expected pool=deployment:seconds or pool=deployment"):
        ScalerSettings(metrics_api=False, release="hub", activate=(entry,))


def test_what_belongs_together_comes_together() -> None:
    with pytest.raises(SettingError, match="HUB_SERVICE"):
        ScalerSettings(metrics_api=True)
    with pytest.raises(SettingError, match="HUB_RELEASE"):
        ScalerSettings(metrics_api=False, activate=("default=hub:60",))
