"""The activator: it sets 0 pods to 1 at once, 1 to 0 after a time without demand, and changes nothing above 1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.process.settings import SettingError
from inferencehub.scaler.activator import QUIET_SECONDS, Activator, Quiet
from inferencehub.scaler.demand.total import Reading
from inferencehub.scaler.settings import ScalerSettings
from tests.scaler.kubernetes import Kubernetes, Object, kubernetes


def test_demand_brings_the_first_pod() -> None:
    assert Quiet().wanted(60, 0, 0.25, at=0) == 1


@pytest.mark.parametrize("demand", [0.0, None])
def test_without_demand_nothing_comes(demand: float | None) -> None:
    quiet = Quiet()
    assert [quiet.wanted(60, 0, demand, at) for at in (0, 100)] == [None, None]


def test_the_last_pod_goes_after_a_quiet_time() -> None:
    quiet = Quiet()
    assert [quiet.wanted(60, 1, 0.0, at) for at in (0, 30, 59.9, 60)] == [None, None, None, 0]


@pytest.mark.parametrize("demand", [0.01, None])
def test_demand_or_doubt_begins_the_quiet_time_anew(demand: float | None) -> None:
    quiet = Quiet()
    assert quiet.wanted(60, 1, 0.0, at=0) is None
    assert quiet.wanted(60, 1, demand, at=59) is None
    assert quiet.wanted(60, 1, 0.0, at=60) is None
    assert quiet.wanted(60, 1, 0.0, at=119) is None
    assert quiet.wanted(60, 1, 0.0, at=120) == 0


def test_a_pod_that_somebody_else_started_has_its_quiet_time_too() -> None:
    """A person who warms a pool that slept all night."""
    quiet = Quiet()
    assert [quiet.wanted(60, 0, 0.0, at) for at in (0, 1000)] == [None, None]
    assert [quiet.wanted(60, 1, 0.0, at) for at in (1001, 1060, 1061)] == [None, None, 0]


@given(
    replicas=st.integers(2, 100),
    demands=st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=20),
)
def test_more_than_one_pod_is_the_autoscalers(replicas: int, demands: list[float | None]) -> None:
    quiet = Quiet()
    assert {quiet.wanted(1, replicas, demand, float(at)) for at, demand in enumerate(demands)} <= {None}


@pytest.mark.parametrize("demand", [0.0, 0.25, None])
def test_a_pool_that_never_sleeps_is_woken_whatever_is_known(demand: float | None) -> None:
    """It slept before this was switched off, and its autoscaler does nothing at 0."""
    quiet = Quiet()
    assert [quiet.wanted(None, count, demand, at=at) for at, count in enumerate((0, 0, 1, 1, 5))] == [
        1,
        1,
        None,
        None,
        None,
    ]


@given(replicas=st.integers(0, 1), demands=st.lists(st.one_of(st.none(), st.floats(0, 9)), max_size=50))
def test_no_step_goes_beyond_one(replicas: int, demands: list[float | None]) -> None:
    quiet = Quiet()
    for at, demand in enumerate(demands):
        wanted = quiet.wanted(3, replicas, demand, float(at))
        assert wanted in (None, 1 - replicas)
        assert not (demand and wanted == 0)
        replicas = replicas if wanted is None else wanted


DEPLOYMENT = "/apis/apps/v1/namespaces/prod/deployments/hub"


def deployment(replicas: int, quiet: str | None) -> Object:
    """A Deployment with so many replicas, and its annotation."""
    annotations = {} if quiet is None else {"annotations": {QUIET_SECONDS: quiet}}
    return {"metadata": annotations, "spec": {"replicas": replicas}}


@asynccontextmanager
async def pool(
    directory: Path, replicas: int, quiet: str | None = "0"
) -> AsyncIterator[tuple[Kubernetes, Activator]]:
    """A pool with so many replicas, and its activator."""
    async with kubernetes(directory) as (server, kube):
        server.write(DEPLOYMENT, deployment(replicas, quiet))
        yield server, Activator(kube, "prod", "gpu", "hub", lambda pool, count: None)


def replicas_of(server: Kubernetes) -> int:
    return int(server.objects[DEPLOYMENT]["spec"]["replicas"])


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
    async with pool(tmp_path, 0, quiet=None) as (server, activator):
        await activator.look(known, {})
        assert replicas_of(server) == 1
        await activator.look(known, {})
        assert replicas_of(server) == 1


async def test_a_rule_that_changes_holds_for_scalers_that_started_before(tmp_path: Path) -> None:
    """During an upgrade there are two scalers for a while; both read the rule with the number that they change."""
    async with pool(tmp_path, 1) as (server, activator):
        server.between = lambda path: server.write(DEPLOYMENT, deployment(1, None))
        await activator.look(reading(0.0), {})
        await activator.look(reading(0.0), {})
        assert replicas_of(server) == 1
        server.between = lambda path: None
        server.write(DEPLOYMENT, deployment(1, "0"))
        await activator.look(reading(0.0), {})
        assert replicas_of(server) == 0


@pytest.mark.parametrize("quiet", ["soon", "", "-1", "1.5"])
async def test_a_rule_that_is_no_number_puts_no_pool_to_sleep(tmp_path: Path, quiet: str) -> None:
    async with pool(tmp_path, 1, quiet) as (server, activator):
        await activator.look(reading(0.0), {})
        assert replicas_of(server) == 1


async def test_who_was_faster_wins(tmp_path: Path) -> None:
    async with pool(tmp_path, 1) as (server, activator):
        server.between = lambda path: server.write(DEPLOYMENT, deployment(2, "0"))
        await activator.look(reading(0.0), {})
        assert replicas_of(server) == 2


def test_targets_are_read() -> None:
    settings = ScalerSettings(
        metrics_api=False,
        release="hub",
        activate=("default=hub-default", "gpu=hub-gpu"),
    )
    assert settings.targets() == {"default": "hub-default", "gpu": "hub-gpu"}


@pytest.mark.parametrize("entry", ["default", "=hub", "default="])
def test_what_is_no_target_is_refused(entry: str) -> None:
    with pytest.raises(SettingError, match="expected pool=deployment"):
        ScalerSettings(metrics_api=False, release="hub", activate=(entry,))


def test_what_belongs_together_comes_together() -> None:
    with pytest.raises(SettingError, match="HUB_SERVICE"):
        ScalerSettings(metrics_api=True)
    with pytest.raises(SettingError, match="HUB_RELEASE"):
        ScalerSettings(metrics_api=False, activate=("default=hub",))
