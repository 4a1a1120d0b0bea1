"""Jobs in a real Valkey: several gateways, and a server that is killed or not there."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from inferencehub.core.files.watched import BadFile
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from tests.authority import Authority
from tests.gateway.jobs.test_crashes import MODEL
from tests.gateway.jobs.test_jobs import ADD, ADDS, INFER, LATER, ask, ended, hub_with_jobs, submitted
from tests.hub import Process, eventually, running_gateway, write_model
from tests.valkey import running_valkey


def adding(number: int) -> dict[str, Any]:
    """A request for `number` + 1."""
    return {"inputs": [{**ADD, "data": [number]}]}


async def test_gateways_share_jobs_and_each_runs_once(tmp_path: Path) -> None:
    async with running_valkey(tmp_path / "valkey") as valkey, hub_with_jobs(tmp_path, jobs=valkey.url) as hub:
        address = f"127.0.0.1:{hub.pods[0].port}"
        async with running_gateway((address,), jobs=valkey.url, drain_timeout_s=1.0) as other:
            await eventually(lambda: other.fleet.ready)
            urls = hub.url, f"http://127.0.0.1:{other.port}"

            async def one(number: int) -> str:
                url, beside = urls[number % 2], urls[(number + 1) % 2]
                async with hub.client.post(
                    f"{url}/v2/models/adds/infer", json=adding(number), headers=LATER
                ) as answer:
                    assert (answer.status, answer.headers["hub-durability"]) == (202, "always")
                    job = answer.headers["location"]
                async with hub.client.get(f"{beside}{job}/result?wait=30") as answer:
                    assert json.loads(await answer.read())["outputs"][0]["data"] == [number + 1]
                return job

            await asyncio.gather(*[one(number) for number in range(100)])
            _, page, _ = await ask(hub, "GET", "/v2/jobs?limit=1000")
            assert Counter((job["state"], job["attempts"]) for job in page["jobs"]) == {("succeeded", 1): 100}
            ran = [
                gateway.jobs.jobs.worker.ended["adds", "succeeded"]
                for gateway in (hub.gateway, other)
                if gateway.jobs
            ]
            assert sum(ran) == 100
            assert all(ran), "both run jobs"


@pytest.mark.long
async def test_a_store_that_is_killed_loses_no_accepted_job(tmp_path: Path) -> None:
    async with running_valkey(tmp_path / "valkey") as valkey, hub_with_jobs(tmp_path, jobs=valkey.url) as hub:
        accepted: dict[int, str] = {}
        refused: Counter[int] = Counter()
        calls: Counter[int] = Counter()

        async def submit(number: int) -> None:
            headers = {**LATER, "idempotency-key": str(number)}
            status, found, answer = await ask(hub, "POST", "/v2/models/adds/infer", adding(number), **headers)
            if status == 202:
                accepted[number] = answer["location"]
            else:
                refused[status] += 1
                assert found["error"] == "the store of jobs cannot be reached"
                assert answer["retry-after"] == "2"
            calls[(await ask(hub, "POST", "/v2/models/quick/infer", INFER))[0]] += 1

        for number in range(300):
            if number == 100:
                await valkey.stop(signal.SIGKILL)
            if number == 130:
                await valkey.start()
            await submit(number)
        assert set(refused) == {503}
        assert set(calls) == {200}, "calls need no store"
        assert len(accepted) > 200
        for number, job in accepted.items():
            status, found, _ = await ask(hub, "GET", f"{job}/result?wait=60")
            assert (status, found["outputs"][0]["data"]) == (200, [number + 1])


async def test_a_url_with_a_password_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    async with running_valkey(tmp_path / "valkey", requirepass="secret") as valkey:
        file.write_text(valkey.url.replace("//", "//:secret@") + "\n")
        async with hub_with_jobs(tmp_path, jobs=f"file:{file}") as hub:
            job = await submitted(hub, "/v2/models/quick/infer", INFER, "always")
            assert (await ended(hub, job))["state"] == "succeeded"
    file.write_text("secret")
    with pytest.raises(BadFile, match="has no URL of a store, expected redis://") as refused:
        async with hub_with_jobs(tmp_path, jobs=f"file:{file}"):
            pass
    assert "secret" not in str(refused.value)
    with pytest.raises(BadFile, match="cannot be read"):
        async with hub_with_jobs(tmp_path, jobs=f"file:{file}.none"):
            pass


async def test_a_gateway_starts_without_its_store(tmp_path: Path) -> None:
    async with running_valkey(tmp_path / "valkey") as valkey:
        await valkey.stop()
        async with hub_with_jobs(tmp_path, jobs=valkey.url) as hub:
            assert (await ask(hub, "POST", "/v2/models/quick/infer", INFER, **LATER))[0] == 503
            assert (await ask(hub, "GET", "/v2/jobs"))[0] == 503
            assert (await ask(hub, "POST", "/v2/models/quick/infer", INFER))[0] == 200
            await valkey.start()
            async with asyncio.timeout(30):  # the gateway asks each second
                while True:
                    status, _, headers = await ask(hub, "POST", "/v2/models/quick/infer", INFER, **LATER)
                    if headers.get("hub-durability") == "always":
                        break
            assert status == 202
            assert (await ended(hub, headers["location"]))["state"] == "succeeded"


@pytest.mark.parametrize(
    ("options", "durability"),
    [({}, "always"), ({"appendfsync": "everysec"}, "everysec"), ({"appendonly": "no"}, "none")],
)
async def test_what_an_accepted_job_survives_is_said(
    tmp_path: Path, options: dict[str, str], durability: str
) -> None:
    async with running_valkey(tmp_path, **options) as valkey:
        store = ValkeyStore(valkey.url, 10)
        await store.start()
        assert store.durability == durability
        await store.stop()


async def test_connections_that_the_server_has_closed_cost_no_step(tmp_path: Path) -> None:
    """A server closes those that are idle, and all of them when it begins anew."""
    async with running_valkey(tmp_path) as valkey, Redis.from_url(valkey.url, protocol=2) as other:
        store = ValkeyStore(valkey.url, 10)
        await store.start()
        for _ in range(2):
            assert (
                len({one.clock for one in await asyncio.gather(*(store.condition() for _ in range(3)))}) == 3
            )
            assert await other.client_kill_filter(_type="normal") > 0
        await store.stop()


async def test_a_store_with_tls_is_verified(tmp_path: Path) -> None:
    """By a server of TLS in front of it, which is what this one lacks."""
    good, other = Authority(tmp_path, "good"), Authority(tmp_path, "other")
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secure.load_cert_chain(*good.signed("store"))
    async with (
        running_valkey(tmp_path / "valkey") as valkey,
        piped(valkey.port, secure) as port,
        hub_with_jobs(tmp_path, jobs=f"rediss://127.0.0.1:{port}/0", jobs_ca=str(good.certificate)) as hub,
    ):
        job = await submitted(hub, "/v2/models/quick/infer", INFER, "always")
        assert (await ended(hub, job))["state"] == "succeeded"
        for authorities in (str(other.certificate), ""):
            store = ValkeyStore(f"rediss://127.0.0.1:{port}/0", 10, authorities=authorities)
            await store.start()
            with pytest.raises(HubError, match="the store of jobs cannot be reached"):
                await store.listed("", "", "", 1, "")
            await store.stop()
        with pytest.raises(BadFile, match=r"HUB_JOBS_CA: .* has no authorities as PEM"):
            await ValkeyStore(f"rediss://127.0.0.1:{port}/0", 10, authorities=str(good.key)).start()


@asynccontextmanager
async def piped(target: int, secure: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks TLS, and passes what comes on to another one in plain."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=secure)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_that_throws_things_away_is_refused(tmp_path: Path) -> None:
    options = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
    async with running_valkey(tmp_path, **options) as valkey:
        store = ValkeyStore(valkey.url, 10)
        with pytest.raises(BadFile, match="maxmemory-policy is allkeys-lru, expected noeviction"):
            await store.start()
        await store.stop()


@pytest.mark.long
async def test_a_server_that_is_full_refuses_jobs_and_loses_none(tmp_path: Path) -> None:
    async with (
        running_valkey(tmp_path / "valkey", maxmemory="3mb") as valkey,
        hub_with_jobs(tmp_path, jobs=valkey.url) as hub,
    ):
        job = await submitted(hub, "/v2/models/quick/infer", INFER, "always")
        await ended(hub, job)
        numbers = [Random(7 + number).random() for number in range(30_000)]  # they hardly get smaller
        large = {"inputs": [{**ADD, "shape": [30_000], "data": numbers}]}
        statuses = Counter(
            [(await ask(hub, "POST", "/v2/models/adds/infer", large, **LATER))[0] for _ in range(30)]
        )
        assert statuses[503] > 0
        assert set(statuses) == {202, 503}
        assert (await ask(hub, "GET", f"{job}/result"))[0] == 200


@pytest.mark.long
async def test_another_gateway_takes_over_what_a_killed_one_ran(tmp_path: Path) -> None:
    slow = f"import time\n{ADDS}".replace("        if inputs", "        time.sleep(0.5)\n        if inputs")
    write_model(tmp_path / "models", "adds", MODEL, {"1/model.py": slow})
    async with (
        running_valkey(tmp_path / "valkey") as valkey,
        Process("inference", HUB_MODELS=str(tmp_path / "models")) as pod,
        aiohttp.ClientSession() as client,
    ):
        settings = {"GRPC_SERVER_URL": pod.address, "HUB_JOBS": valkey.url}
        jobs = {}
        async with Process("gateway", **settings) as gateway:
            for number in range(20):
                url = f"http://{gateway.address}/v2/models/adds/infer"
                async with client.post(url, json=adding(number), headers=LATER) as answer:
                    assert answer.status == 202
                    jobs[number] = answer.headers["location"]
            gateway.send(signal.SIGKILL)
        async with Process("gateway", **settings) as gateway:
            attempts = Counter[int]()
            for number, job in jobs.items():
                async with asyncio.timeout(60):
                    while True:
                        async with client.get(f"http://{gateway.address}{job}/result?wait=30") as answer:
                            found = json.loads(await answer.read())
                        if answer.status != 202:
                            break
                assert (answer.status, found["outputs"][0]["data"]) == (200, [number + 1])
                async with client.get(f"http://{gateway.address}{job}") as answer:
                    attempts[(await answer.json())["attempts"]] += 1
            assert set(attempts) == {1, 2}, "the one that ran when the gateway was killed ran twice"
