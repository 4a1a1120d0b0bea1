"""Quotas of a day: over all gateways, fronts, jobs and batches no more is accepted than a key has."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.auth.limits import Limits
from inferencehub.core.files.watched import BadFile
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.gateway.quota_hub import (
    KEYS,
    QUICK,
    bearer,
    comes,
    hub_with_quotas,
    keys_with,
    leases_of,
    rows_of,
    standing,
    until_refused,
    until_refused_over_grpc,
    used,
)
from tests.gateway.raw import Raw, request
from tests.hub import Hub, Process, eventually, running_gateway
from tests.ports import free_port
from tests.valkey import Valkey

LATER = {"prefer": "respond-async"}
CALLS = {"calls": {"calls_per_day": 5}}


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")


async def test_the_call_behind_the_last_one_is_refused_on_both_fronts(tmp_path: Path, jobs: str) -> None:
    async with hub_with_quotas(tmp_path, jobs, CALLS) as hub:
        for _ in range(5):
            assert (await hub.post("/predict", QUICK, headers=bearer("calls")))[0] == 200
        said = f"key 'calls' may make 5 calls a day, 5 are used, and the quota begins anew at {tomorrow()}"
        status, answer, headers = await hub.post("/predict", QUICK, headers=bearer("calls"))
        assert (status, answer["error"]) == (429, said)
        assert 0 < int(headers["retry-after"]) <= 3600
        assert headers["ratelimit-policy"] == '"key-day";q=5;w=86400'
        assert headers["ratelimit"] == f'"key-day";r=0;t={headers["retry-after"]}'
        assert await until_refused_over_grpc(hub.gateway.grpc.port, "calls") == Counter({429: 1})
        assert (await hub.get("/v2/models", headers=bearer("calls")))[0] == 200, "a question is no call"
        assert (await hub.post("/predict", QUICK, headers=bearer("free")))[0] == 200
        assert await standing(hub, "calls") == [
            {"of": "key", "unit": "calls", "quota": 5, "used": 5, "begins_anew": tomorrow()}
        ]
        assert await standing(hub, "free") == []


async def test_what_was_refused_for_another_reason_takes_nothing(tmp_path: Path, jobs: str) -> None:
    async with hub_with_quotas(tmp_path, jobs, {"both": {"calls_per_day": 5, "rows_per_day": 9}}) as hub:
        path, key = "/v2/models/batches/infer", bearer("both")
        wrong: dict[str, Any]
        for wrong in ({}, {"inputs": []}, rows_of(10)):
            assert (await hub.post(path, wrong, headers=key))[0] in (400, 413)
        assert (await hub.post("/v2/models/none/infer", rows_of(1), headers=key))[0] == 404
        assert await used(hub, "both") == {"calls": 0, "rows": 0}
        assert (await hub.post(path, rows_of(8), headers=key))[0] == 200
        status, answer, headers = await hub.post(path, rows_of(2), headers=key)
        assert status == 429
        assert "key 'both' may have 9 rows a day, 8 are used, and this call has 2, and the" in answer["error"]
        assert headers["ratelimit-policy"] == '"key-rows-day";q=9;w=86400;qu="rows"'
        assert await used(hub, "both") == {"calls": 1, "rows": 8}
        assert (await hub.post(path, rows_of(1), headers=key))[0] == 200, "this one fits"
        assert await used(hub, "both") == {"calls": 2, "rows": 9}


async def test_a_call_that_no_day_has_room_for_is_too_large(tmp_path: Path, jobs: str) -> None:
    async with hub_with_quotas(tmp_path, jobs, {"rows": {"rows_per_day": 4}}) as hub:
        status, answer, _ = await hub.post("/v2/models/batches/infer", rows_of(5), headers=bearer("rows"))
        said = "key 'rows' may have 4 rows a day, and this call has 5, more than any day has"
        assert (status, answer["error"]) == (413, said)


async def test_a_job_counts_once_when_it_is_accepted(tmp_path: Path, jobs: str) -> None:
    async with hub_with_quotas(tmp_path, jobs, CALLS) as hub:
        for key in ("a", "b", "a"):
            headers = {**bearer("calls"), **LATER, "idempotency-key": key}
            status, job, _ = await hub.post("/predict", QUICK, headers=headers)
            assert status in (200, 202)
            result = f"/v2/jobs/{job['id']}/result?wait=20" if status == 202 else ""
            if result:
                assert (await hub.get(result, headers=bearer("calls")))[0] == 200
        assert await used(hub, "calls") == {"calls": 2}
        for _ in range(3):
            assert (await hub.post("/predict", QUICK, headers={**bearer("calls"), **LATER}))[0] == 202
        refused = await hub.post("/predict", QUICK, headers={**bearer("calls"), **LATER})
        assert refused[0] == 429
        assert (await hub.get("/v2/jobs", headers=bearer("calls")))[0] == 200, "results can be fetched"


async def test_a_job_of_a_pool_that_sleeps_takes_nothing_if_its_model_refuses_it(tmp_path: Path) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"models": [{"model": "quick", "rate": 0.001, "burst": 1}]}))
    settings = {
        "jobs": f"sqlite:{tmp_path / 'jobs.db'}",
        "limits": str(limits),
        "api_keys": keys_with(tmp_path, **CALLS),
    }
    async with (
        running_gateway(
            (f"127.0.0.1:{free_port()}",), on_demand_models=("cpu/quick:4",), **settings
        ) as gateway,
        aiohttp.ClientSession() as client,
    ):
        hub = Hub(gateway, [], client)
        found = [await hub.post("/predict", QUICK, headers={**bearer("calls"), **LATER}) for _ in range(3)]
        assert [one[0] for one in found] == [202, 429, 429]
        assert await used(hub, "calls") == {"calls": 1}


async def test_each_item_of_a_batch_is_a_call(tmp_path: Path, jobs: str) -> None:
    async with hub_with_quotas(tmp_path, jobs, CALLS) as hub:

        async def upload(items: int, wrong: int = 0, key: str = "") -> tuple[int, Any]:
            lines = [{"method": "POST", "url": "/predict", "body": QUICK}] * items
            lines += [{"method": "POST", "url": "/predict", "body": {}}] * wrong
            data = b"".join([json.dumps(one).encode() + b"\n" for one in lines])
            headers = {**bearer("calls"), "idempotency-key": key} if key else bearer("calls")
            status, answer, _ = await hub.post("/v2/jobs", data, headers=headers)
            return status, answer.get("error")

        assert await upload(6) == (
            413,
            "key 'calls' may make 5 calls a day, and this batch has 6, more than any day has",
        )
        assert (await upload(3, wrong=2, key="k"))[0] == 202
        assert (await upload(3, wrong=2, key="k"))[0] in (200, 202), "it is the same"
        assert await used(hub, "calls") == {"calls": 3}
        status, said = await upload(3)
        assert (status, said.partition(", and the")[0]) == (
            429,
            "key 'calls' may make 5 calls a day, 3 are used, and this batch has 3",
        )
        assert (await upload(2))[0] == 202
        assert (await hub.post("/predict", QUICK, headers=bearer("calls")))[0] == 429


class Unanswered:
    """Batches that count what is kept, and do not answer once one is sealed."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self.puts = 0
        self.sealed, self.left = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    async def put(self, *args: Any) -> None:
        self.puts += 1
        await self._batches.put(*args)

    async def seal(self, *args: Any) -> None:
        await self._batches.seal(*args)
        self.sealed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


def unanswered(hub: Hub) -> Unanswered:
    assert hub.gateway.jobs is not None
    store: Any = hub.gateway.jobs.jobs.store
    store.batches = Unanswered(store.batches)
    return store.batches  # type: ignore[no-any-return]


def file_of(items: int) -> bytes:
    return items * (json.dumps({"method": "POST", "url": "/predict", "body": QUICK}).encode() + b"\n")


async def test_a_batch_counts_though_its_caller_left_when_it_was_kept(tmp_path: Path, jobs: str) -> None:
    async with hub_with_quotas(tmp_path, jobs, CALLS) as hub:
        batches = unanswered(hub)
        upload = asyncio.create_task(hub.post("/v2/jobs", file_of(3), headers=bearer("calls")))
        await batches.sealed.wait()
        upload.cancel()
        await batches.left.wait()
        assert await used(hub, "calls") == {"calls": 3}


async def test_a_batch_that_no_quota_fits_is_refused_before_the_work_for_it(
    tmp_path: Path, jobs: str
) -> None:
    async with hub_with_quotas(tmp_path, jobs, {"calls": {"calls_per_day": 150}}) as hub:
        batches = unanswered(hub)
        status, answer, _ = await hub.post("/v2/jobs", file_of(1000), headers=bearer("calls"))
        said = "key 'calls' may make 150 calls a day, and this batch has 200, more than any day has"
        assert (status, answer["error"]) == (413, said)
        assert batches.puts == 1, "of the first hundred"
        assert await used(hub, "calls") == {"calls": 0}


async def test_tenants_have_quotas_of_their_own(tmp_path: Path, jobs: str) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"tenants": [{"tenant": "lab", "calls_per_day": 3}]}))
    quotas: dict[str, dict[str, Any]] = {
        "calls": {"tenant": "lab", "calls_per_day": 2},
        "rows": {"tenant": "lab"},
    }
    async with hub_with_quotas(tmp_path, jobs, quotas, limits=str(limits)) as hub:
        statuses = [(await hub.post("/predict", QUICK, headers=bearer("calls")))[0] for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await hub.post("/predict", QUICK, headers=bearer("rows")))[0] == 200
        status, answer, headers = await hub.post("/predict", QUICK, headers=bearer("rows"))
        assert (status, answer["error"].partition(" a day")[0]) == (429, "tenant 'lab' may make 3 calls")
        assert headers["ratelimit-policy"] == '"tenant-day";q=3;w=86400'
        found = {(one["of"], one["used"]) for one in await standing(hub, "calls")}
        assert found == {("key", 2), ("tenant", 3)}


async def test_a_large_body_of_a_quota_that_is_used_up_is_not_read(tmp_path: Path, jobs: str) -> None:
    async with hub_with_quotas(tmp_path, jobs, {"calls": {"calls_per_day": 1}}) as hub:
        statuses = [(await hub.post("/predict", QUICK, headers=bearer("calls")))[0] for _ in range(2)]
        assert statuses == [200, 429]
        async with Raw(hub.gateway.port) as raw:
            head = f"authorization: {bearer('calls')['authorization']}"
            await raw.send(request("POST", "/predict", b"x" * 100_000, head)[:-100_000])
            assert (await raw.read()).status == 429


async def test_a_quota_outlives_its_gateway_and_may_be_raised(tmp_path: Path, jobs: str) -> None:
    """What is left at the end goes back: with 1000 calls a gateway has a block of ten at hand."""
    quotas = {"calls": {"calls_per_day": 1000}}
    async with hub_with_quotas(tmp_path, jobs, quotas) as hub:
        for _ in range(3):
            assert (await hub.post("/predict", QUICK, headers=bearer("calls")))[0] == 200
    async with hub_with_quotas(tmp_path, jobs, quotas) as hub:
        assert await used(hub, "calls") == {"calls": 3}
        keys_with(tmp_path, calls={"calls_per_day": 3})
        await eventually(lambda: limits_of(hub).calls_per_day == 3)
        assert (await hub.post("/predict", QUICK, headers=bearer("calls")))[0] == 429
        keys_with(tmp_path, calls={"calls_per_day": 4})
        await eventually(lambda: limits_of(hub).calls_per_day == 4)
        await comes(lambda: accepted(hub))
        assert (await hub.post("/predict", QUICK, headers=bearer("calls")))[0] == 429


def limits_of(hub: Hub) -> Limits:
    assert hub.gateway.callers.keys is not None
    limits = hub.gateway.callers.keys.caller(KEYS["calls"].encode()).limits
    assert limits is not None
    return limits


async def accepted(hub: Hub) -> bool:
    return (await hub.post("/predict", QUICK, headers=bearer("calls")))[0] == 200


@pytest.mark.parametrize("kind", ["keys", "limits"])
def test_without_a_store_a_quota_is_refused(tmp_path: Path, kind: str) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"tenants": [{"tenant": "lab", "rows_per_day": 3}]}))
    settings = (
        {"api_keys": keys_with(tmp_path, **CALLS)}
        if kind == "keys"
        else {"limits": str(limits), "api_keys": keys_with(tmp_path)}
    )
    named = "'calls' has calls_per_day" if kind == "keys" else "tenant 'lab' has rows_per_day"
    with pytest.raises(BadFile, match=named + ", which the store of jobs counts for all gateways: expected"):
        Gateway(GatewaySettings(port=0, grpc_port=0, ops_port=0, **settings))  # type: ignore[arg-type]


async def test_two_gateways_grant_the_quota_and_no_more(tmp_path: Path, valkey: Valkey) -> None:
    """Callers on both fronts of both, all until they are refused."""
    most = 700
    async with hub_with_quotas(tmp_path, valkey.url, {"calls": {"calls_per_day": most}}) as hub:
        pod = f"127.0.0.1:{hub.pods[0].port}"
        file = keys_with(tmp_path, calls={"calls_per_day": most})
        async with running_gateway((pod,), jobs=valkey.url, api_keys=file, hold_s=10.0) as other:
            callers = [
                until_refused(hub.client, gateway.port, "calls")
                for gateway in (hub.gateway, other)
                for _ in range(8)
            ]
            callers += [
                until_refused_over_grpc(gateway.grpc.port, "calls")
                for gateway in (hub.gateway, other)
                for _ in range(4)
            ]
            found = sum(await asyncio.gather(*callers), Counter())
            assert found == Counter({200: most, 429: len(callers)})
            assert await used(hub, "calls") == {"calls": most}


@pytest.mark.long
async def test_a_killed_gateway_takes_its_block_along_and_no_more(tmp_path: Path, valkey: Valkey) -> None:
    most = 600
    async with hub_with_quotas(tmp_path, valkey.url, {"calls": {"calls_per_day": most}}) as hub:
        settings = {
            "GRPC_SERVER_URL": f"127.0.0.1:{hub.pods[0].port}",
            "HUB_JOBS": valkey.url,
            "HUB_API_KEYS": str(tmp_path / "keys.json"),
        }
        async with Process("gateway", **settings) as other, aiohttp.ClientSession() as client:
            before = await until_refused(client, other.port, "calls", most=200)
            assert before == Counter({200: 200})
            other.send(signal.SIGKILL)
            await other.ended()
        after = await until_refused(hub.client, hub.gateway.port, "calls")
        lost = most - 200 - after[200]
        assert 0 < lost <= most // 100, f"{lost} of a block"


async def test_a_store_that_is_down_refuses_when_the_block_is_used(tmp_path: Path, valkey: Valkey) -> None:
    async with hub_with_quotas(tmp_path, valkey.url, {"calls": {"calls_per_day": 500}}) as hub:
        first = await until_refused(hub.client, hub.gateway.port, "calls", most=20)
        await eventually(lambda: not leases_of(hub)._asks)
        await valkey.stop()
        found = await until_refused(hub.client, hub.gateway.port, "calls")
        assert found[503] == 1
        assert 0 < found[200] <= 5, "those of the block at hand"
        status, answer, headers = await hub.post("/predict", QUICK, headers=bearer("calls"))
        said = "how many calls key 'calls' has used today is not known: the store that counts them cannot be reached"
        assert (status, answer["error"], headers["retry-after"]) == (503, said, "2")
        assert await used(hub, "calls") == {"calls": None}
        assert (await hub.post("/predict", QUICK, headers=bearer("free")))[0] == 200
        await valkey.start()
        await comes(lambda: accepted(hub))
        rest = await until_refused(hub.client, hub.gateway.port, "calls")
        assert first[200] + found[200] + 1 + rest[200] == 500


async def known(hub: Hub) -> bool:
    return (await used(hub, "calls"))["calls"] is not None


async def test_a_store_that_is_down_may_be_done_without(tmp_path: Path, valkey: Valkey) -> None:
    """What was granted meanwhile is settled once it is back: the rest of the quota is what both have not used."""
    quotas = {"calls": {"calls_per_day": 120}}
    async with hub_with_quotas(tmp_path, valkey.url, quotas, quotas_fail_open=True) as hub:
        assert (await until_refused(hub.client, hub.gateway.port, "calls", most=10))[200] == 10
        await valkey.stop()
        assert (await until_refused(hub.client, hub.gateway.port, "calls", most=50))[200] == 50
        await valkey.start()
        await comes(lambda: known(hub))
        assert await used(hub, "calls") == {"calls": 60}
        rest = await until_refused(hub.client, hub.gateway.port, "calls")
        assert rest == Counter({200: 60, 429: 1})
        await valkey.stop()
        assert (await until_refused(hub.client, hub.gateway.port, "calls"))[200] == 0, "it is used up"
