"""Pods come and go under load: added, killed, frozen, drained, restarted. Pods are real processes; every answer is
checked.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.gateway.pods.link import PodState
from tests.gateway.pod_processes import Name, gateway_to, pods_of
from tests.gateway.python_model import double, python_model, runs
from tests.hub import Process, eventually, mock_model
from tests.load import Load
from tests.machine import slowed

pytestmark = pytest.mark.long


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with one quick model of few slots."""
    mock_model(tmp_path, "quick", delay_ms=30, slots=2)
    return tmp_path


@pytest.mark.timing
async def test_a_pod_that_is_added_gets_work_and_one_that_leaves_dns_gets_no_more(models: Path) -> None:
    async with pods_of(models, models) as (one, two):
        name = Name(one, two)
        async with gateway_to(one, two, name=name) as hub, Load(hub.url) as load:
            third = Process("inference", HUB_MODELS=str(models))
            name.addresses.add(third.address)  # its address is there before it is ready
            async with third:
                ready = monotonic()
                await eventually(lambda: third.address in load.first)
                took = load.first[third.address] - ready
                print(f"first answer {took:.2f} s after the new pod was ready")
                assert took < slowed(2.0)
                name.addresses.discard(one.address)
                await eventually(lambda: one.address not in hub.gateway.fleet.pods)
                before = load.served[one.address]
                await asyncio.sleep(0.5)
                assert load.served[one.address] == before
                name.addresses.clear()  # a lookup that fails changes nothing
                await asyncio.sleep(1.5)
                assert set(hub.gateway.fleet.pods) == {two.address, third.address}
                load_before = load.good
                await eventually(lambda: load.good > load_before + 20)
    assert not load.failed


@pytest.mark.timing
async def test_a_killed_pod_costs_no_request_and_serves_again_after_its_restart(models: Path) -> None:
    async with (
        pods_of(models, models) as (one, two),
        gateway_to(one, two) as hub,
        Load(hub.url) as load,
    ):
        await eventually(lambda: load.good > 50)
        tasks, files = len(asyncio.all_tasks()), len(os.listdir("/dev/fd"))
        one.send(signal.SIGKILL)
        await one.ended()
        good = load.good
        await eventually(lambda: load.good > good + 50)
        await one.start()  # on the same port
        ready, before = monotonic(), load.served[one.address]
        await eventually(lambda: load.served[one.address] > before)
        print(f"serves again {monotonic() - ready:.2f} s after it was ready")
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 2)
        await eventually(lambda: len(os.listdir("/dev/fd")) <= files + 2)
    assert not load.failed
    assert monotonic() - ready < slowed(3.0)


async def test_without_any_pod_requests_wait_then_get_503_and_recover_by_themselves(models: Path) -> None:
    async with pods_of(models) as (pod,), gateway_to(pod, hold_s=0.5) as hub:
        asked = {"features": [1.0], "model_name": "quick"}

        async def ask(model: str = "quick") -> tuple[int, str, str, float]:
            began = monotonic()
            async with hub.client.post("/predict", json={**asked, "model_name": model}) as answer:
                said = (await answer.json())["error"]
                return answer.status, said, answer.headers.get("retry-after", ""), monotonic() - began

        before = [asyncio.create_task(ask()) for _ in range(8)]  # some run, some wait when it is killed
        await asyncio.sleep(0.02)
        pod.send(signal.SIGKILL)
        await pod.ended()
        for status, said, retry, took in [*await asyncio.gather(*before), await ask()]:
            assert status in (200, 503)
            if status == 503:
                assert "model 'quick' cannot be reached: no pod serves it" in said
                assert retry == "2"
                assert 0.45 < took < 10.0
        assert (await ask())[0] == 503
        assert (await ask("other"))[0] == 404
        async with hub.client.get("/readyz") as answer:  # the gateway itself is well
            assert answer.status == 200
        async with hub.client.get("/v2/health/ready") as answer:
            assert answer.status == 503
        await asyncio.sleep(1.5)  # so that backoff has grown
        await pod.start()
        ready = monotonic()
        while (await ask())[0] != 200:
            assert monotonic() - ready < 20.0
        print(f"answers again {monotonic() - ready:.2f} s after the pod was ready")


@pytest.mark.timing
async def test_a_frozen_pod_is_out_soon_its_work_done_elsewhere_and_it_comes_back(models: Path) -> None:
    async with (
        pods_of(models, models) as (one, two),
        gateway_to(one, two) as hub,
        Load(hub.url) as load,
    ):
        await eventually(lambda: load.good > 50)
        frozen = hub.gateway.fleet.pods[one.address]
        one.send(signal.SIGSTOP)
        silent = await eventually(lambda: not frozen.up)
        lost = silent + await eventually(lambda: frozen.state is PodState.LOST)
        await eventually(lambda: not any(place.in_flight for place in frozen.replicas.values()))
        one.send(signal.SIGCONT)
        back = await eventually(lambda: frozen.up)
        before = load.served[one.address]
        await eventually(lambda: load.served[one.address] > before)
        print(f"out after {silent:.2f} s, its work elsewhere after {lost:.2f} s, back after {back:.2f} s")
    assert not load.failed
    assert lost < slowed(10.0)
    assert load.longest_gap < slowed(1.0), "the other pod went on meanwhile"


@pytest.mark.timing
async def test_a_drained_pod_ends_what_it_runs_and_costs_no_request(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "runs"
    python_model(models, "slow", log, seconds=2.0)  # longer than the 0.5 s for which a draining pod serves on
    async with (
        pods_of(models, models) as (one, two),
        gateway_to(one, two) as hub,
        Load(hub.url) as load,
    ):
        slow = [asyncio.create_task(double(hub, "slow", 1.0)) for _ in range(2)]  # one at each pod
        await eventually(lambda: len(runs(log)) == 2)
        began = monotonic()
        one.send(signal.SIGTERM)
        out = await eventually(lambda: not hub.gateway.fleet.pods[one.address].up)
        assert await one.ended() == 0
        print(f"out {out:.3f} s after SIGTERM, ended after {monotonic() - began:.2f} s")
        answers = await asyncio.gather(*slow)
        assert sorted(answers) == sorted((200, [2.0], pod.address) for pod in (one, two))
        good = load.good
        await eventually(lambda: load.good > good + 20)
    assert not load.failed
    assert len(runs(log)) == 2, "neither ran twice"
    assert out < slowed(0.5)


async def test_an_address_that_leaves_dns_while_it_drains_keeps_its_calls(
    models: Path, tmp_path: Path
) -> None:
    log = tmp_path / "runs"
    python_model(models, "slow", log, seconds=2.5)
    async with pods_of(models) as (pod,):
        name = Name(pod)
        async with gateway_to(pod, name=name, resolve_s=0.2) as hub:
            slow = asyncio.create_task(double(hub, "slow", 1.0))
            await eventually(lambda: runs(log))
            name.addresses = {"127.0.0.1:9"}
            pod.send(signal.SIGTERM)
            assert await slow == (200, [2.0], pod.address)
            await eventually(lambda: pod.address not in hub.gateway.fleet.pods)
            assert await pod.ended() == 0


async def test_a_loaded_model_serves_while_its_neighbour_in_the_pod_is_loaded(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    mock_model(tmp_path / "models", "quick", delay_ms=0)
    python_model(tmp_path / "models", "heavy", log, held=True)
    second = Process("inference", HUB_MODELS=str(tmp_path / "models"))
    name = Name()
    name.addresses.add(second.address)
    async with gateway_to(name=name, hold_s=0.3) as hub:
        status, _, _ = await hub.get("/v2/health/ready")
        assert status == 503
        starting = asyncio.create_task(second.start())
        try:
            await eventually(lambda: hub.gateway.table.is_open("quick", ""))
            status, answer, headers = await hub.post("/predict", {"model_name": "quick", "features": [1]})
            assert (status, headers["x-served-by"]) == (200, second.address), answer
            assert (await hub.get("/v2/health/ready"))[0] == 200
            status, answer, _ = await hub.get("/v2/models/heavy/ready")
            assert (status, answer["error"]) == (503, "model 'heavy' does not serve: it is LOADING")
            assert hub.gateway.fleet.pods[second.address].state is PodState.UP
            assert not starting.done(), "the pod itself is not ready"
        finally:
            starting.cancel()
            await second.__aexit__()
