"""A store that stands still, and comes back: nothing is counted as lost that was not, and nothing runs twice."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex

import aiohttp
import pytest
import pytest_asyncio

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.jobs.record import State
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from tests.gateway.jobs.stores import DONE, LEASE_S, claim, job, refused
from tests.gateway.jobs.test_crashes import MODEL
from tests.gateway.jobs.test_jobs import ADD, ADDS, LATER
from tests.hub import Process, eventually, mock_model, running_hub, write_model
from tests.valkey import Valkey


@pytest_asyncio.fixture
async def store(valkey: Valkey) -> AsyncIterator[ValkeyStore]:
    made = ValkeyStore(valkey.url, 50, prefix=f"{{{token_hex(4)}}}:")
    await made.start()
    yield made
    await made.stop()


def send(valkey: Valkey, number: signal.Signals) -> None:
    assert valkey.process is not None
    valkey.process.send_signal(number)


@pytest.mark.long
async def test_what_a_claim_without_an_answer_took_was_not_lost(valkey: Valkey, store: ValkeyStore) -> None:
    """The server does it all the same once it goes on; nobody runs that."""
    await store.add(job("1"))
    send(valkey, signal.SIGSTOP)
    assert await refused(claim(store)) is Kind.NOT_READY
    send(valkey, signal.SIGCONT)
    async with asyncio.timeout(20):
        while True:
            if (await store.job("a", "1")).attempts:
                break
            await asyncio.sleep(0.05)
    (one,) = await claim(store)
    assert (one.id, one.attempt, one.losses) == ("1", 2, 0)
    assert await store.sweep(LEASE_S - 1) == 0
    assert await store.finish("1", 2, State.SUCCEEDED, "", DONE, 2.0)


async def test_a_claim_that_was_taken_back_takes_nothing_later(valkey: Valkey, store: ValkeyStore) -> None:
    await store.add(job("1"))
    await store._server.do("unclaim", 0.0, "late")
    assert await store._server.do("claim", "late", LEASE_S, 0.0, "m", 1, 0) == []
    assert len(await claim(store)) == 1


@pytest.mark.long
async def test_leases_stand_still_while_the_server_does(valkey: Valkey, store: ValkeyStore) -> None:
    await store.add(job("1"))
    await claim(store)
    assert await store.sweep(1.0) == 0
    send(valkey, signal.SIGSTOP)
    await asyncio.sleep(4.0)
    send(valkey, signal.SIGCONT)
    assert await store.sweep(LEASE_S + 3.0) == 0
    assert await store.sweep(LEASE_S + 3.5) == 0
    assert await store.sweep(LEASE_S + 30.0) == 1


async def test_a_late_renewal_shortens_no_lease(store: ValkeyStore) -> None:
    await store.add(job("1"))
    (one,) = await claim(store)
    for now in (20.0, 5.0):
        assert await store.renew([("1", one.attempt)], LEASE_S, now) == {("1", 1)}
    assert await store.sweep(49.0) == 0


@pytest.mark.long
async def test_a_server_that_stands_still_holds_up_one_step_at_a_time(
    valkey: Valkey, store: ValkeyStore
) -> None:
    send(valkey, signal.SIGSTOP)
    assert await refused(store.add(job("0"))) is Kind.NOT_READY
    probe = asyncio.create_task(refused(store.add(job("probe"))))
    await eventually(lambda: store._server._in_flight == 1)
    async with asyncio.timeout(1.0):
        for number in range(100):
            assert await refused(store.add(job(f"n{number}"))) is Kind.NOT_READY
    assert not probe.done()
    assert await probe is Kind.NOT_READY
    send(valkey, signal.SIGCONT)
    assert (await store.add(job("1"))).state is State.QUEUED
    assert {one.id for one in await store.listed("a", "", "", 100, "")} <= {"0", "probe", "1"}


@pytest.mark.long
async def test_a_run_that_ends_while_its_store_stands_still_is_kept_and_runs_once(
    tmp_path: Path, valkey: Valkey
) -> None:
    runs = tmp_path / "runs"
    slow = f"import time\n{ADDS}".replace(
        "        if inputs",
        f"        open({str(runs)!r}, 'a').write('r')\n        time.sleep(2)\n        if inputs",
    )
    write_model(tmp_path / "models", "adds", MODEL, {"1/model.py": slow})
    async with (
        Process("inference", HUB_MODELS=str(tmp_path / "models")) as pod,
        Process("gateway", GRPC_SERVER_URL=pod.address, HUB_JOBS=valkey.url) as gateway,
        aiohttp.ClientSession() as client,
    ):
        url = f"http://{gateway.address}"
        async with client.post(
            f"{url}/v2/models/adds/infer", json={"inputs": [ADD]}, headers=LATER
        ) as answer:
            path = answer.headers["location"]
        await eventually(runs.exists)
        send(valkey, signal.SIGSTOP)
        await asyncio.sleep(LEASE_S + 10.0)
        send(valkey, signal.SIGCONT)
        async with asyncio.timeout(30):
            while True:
                async with client.get(f"{url}{path}") as answer:
                    found = await answer.json()
                if found.get("state") == "succeeded":
                    break
                await asyncio.sleep(0.1)
        assert found["attempts"] == 1
        async with client.get(f"{url}{path}/result") as answer:
            assert json.loads(await answer.read())["outputs"][0]["data"] == [2.5]
        assert runs.read_text() == "r"


async def test_a_gateway_says_whether_its_store_answers(tmp_path: Path, valkey: Valkey) -> None:
    mock_model(tmp_path / "models")
    async with running_hub(tmp_path / "models", jobs=valkey.url) as hub:
        registry = hub.gateway.metrics.registry

        def says(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(f"inferencehub_gateway_jobs_{name}", labels)

        assert says("store_up") == 1
        assert says("ended_total", model="quick", state="failed") == 0
        await valkey.stop()
        await eventually(lambda: says("store_up") == 0)
        await valkey.start()
        await eventually(lambda: says("store_up") == 1)
