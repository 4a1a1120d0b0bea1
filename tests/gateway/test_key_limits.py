"""Limits of API keys: calls a second and calls at a time, over both fronts together, and what the refused one reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.oip import messages
from inferencehub.gateway.calls.limits.meters import Bucket
from inferencehub.gateway.calls.limits.peers import Peers
from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_hub
from tests.inference.pod_processes import features

KEYS = {name: new_key(name) for name in ("rated", "few", "free")}
# A token comes in 100 s: no test lasts so long.
LIMITS: dict[str, dict[str, Any]] = {
    "rated": {"rate": 0.01, "burst": 4},
    "few": {"concurrency": 2},
    "free": {},
}
QUICK = {"features": [1.0], "model_name": "quick"}


@asynccontextmanager
async def hub_with_limits(tmp_path: Path, **settings: Any) -> AsyncIterator[Hub]:
    """A quick and a slow model, and a gateway with these keys."""
    mock_model(tmp_path / "models", "quick")
    mock_model(tmp_path / "models", "slow", delay_ms=60_000, slots=8)
    entries = [
        {"id": name, "sha256": sha256(key.encode()).hexdigest(), **LIMITS[name]} for name, key in KEYS.items()
    ]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": entries}))
    async with running_hub(tmp_path / "models", api_keys=str(file), **settings) as hub:
        yield hub


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


async def over_grpc(hub: Hub, name: str, model: str = "quick") -> tuple[str, str]:
    """Status and sentence of a ModelInfer."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        infer: Any = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        try:
            await infer(features(model, 1.0).SerializeToString(), metadata=tuple(bearer(name).items()))
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""


async def test_calls_beyond_the_rate_get_429_on_both_fronts_and_others_do_not(tmp_path: Path) -> None:
    said = "key 'rated' may make 0.01 calls a second, and 4 at once"
    async with hub_with_limits(tmp_path) as hub:
        for _ in range(2):
            assert (await hub.post("/predict", QUICK, headers=bearer("rated")))[0] == 200
        assert await over_grpc(hub, "rated") == ("OK", "")
        assert (await hub.get("/v2/models", headers=bearer("rated")))[0] == 200, "a question is a call too"
        for path in ("/predict", "/v2/models/quick/infer", "/v1/embeddings"):
            status, answer, headers = await hub.post(path, QUICK, headers=bearer("rated"))
            assert status == 429
            assert said in json.dumps(answer)
            assert 90 < int(headers["retry-after"]) <= 100
            assert headers["ratelimit-policy"] == '"key";q=4;w=400'
            assert headers["ratelimit"] == f'"key";r=0;t={headers["retry-after"]}'
        assert await over_grpc(hub, "rated") == ("RESOURCE_EXHAUSTED", said)
        assert (await hub.get("/v2/models", headers=bearer("rated")))[0] == 429
        assert (await hub.get("/v2/health/ready", headers=bearer("rated")))[0] == 200
        assert (await hub.post("/predict", QUICK, headers=bearer("free")))[0] == 200


async def test_a_body_beyond_the_rate_is_not_read(tmp_path: Path) -> None:
    async with hub_with_limits(tmp_path) as hub:
        for _ in range(4):
            await hub.post("/predict", QUICK, headers=bearer("rated"))
        async with Raw(hub.gateway.port) as raw:
            whole = request("POST", "/predict", b"x" * 1_000_000, f"authorization: Bearer {KEYS['rated']}")
            await raw.send(whole[:-1_000_000])
            assert (await raw.read()).status == 429


async def test_each_gateway_grants_its_share(tmp_path: Path) -> None:
    async with hub_with_limits(tmp_path) as hub:
        hub.gateway.callers.peers.count = 2
        statuses = [(await hub.post("/predict", QUICK, headers=bearer("rated")))[0] for _ in range(4)]
        assert statuses == [200, 200, 429, 429]


async def test_calls_at_a_time_count_until_they_end_however_they_end(tmp_path: Path) -> None:
    slow = {"features": [1.0], "model_name": "slow"}
    async with hub_with_limits(tmp_path) as hub, aiohttp.ClientSession() as client:

        def running() -> int:
            return hub.gateway.table.routes[("slow", "")][0].lane.in_use.jobs

        async def status() -> int:
            return (await hub.post("/predict", QUICK, headers=bearer("few")))[0]

        first = asyncio.create_task(
            client.post(f"{hub.url}/predict", json=slow, headers=bearer("few")).__aenter__()
        )
        await eventually(lambda: running() == 1)
        assert await status() == 200
        second = asyncio.create_task(over_grpc(hub, "few", "slow"))
        await eventually(lambda: running() == 2)
        code, answer, headers = await hub.post("/predict", QUICK, headers=bearer("few"))
        assert (code, answer["error"]) == (429, "key 'few' has 2 calls running here, which is the most")
        assert headers["ratelimit-policy"] == '"key-concurrency";q=2;qu="concurrent-requests"'
        assert (await over_grpc(hub, "few"))[0] == "RESOURCE_EXHAUSTED"
        assert (await hub.post("/predict", QUICK, headers=bearer("free")))[0] == 200
        for caller in (first, second):
            caller.cancel()  # it hangs up
            await asyncio.wait([caller])
        await eventually(lambda: running() == 0)
        for path, body in (
            ("/predict", QUICK),
            ("/v2/models/none/infer", {}),
            ("/v2/models/quick/infer", b"{"),
        ):
            for _ in range(4):
                assert (await hub.post(path, body, headers=bearer("few")))[0] != 429
        for _ in range(3):  # who leaves before the end of the body
            async with Raw(hub.gateway.port) as raw:
                asked = request("POST", "/predict", b"x" * 1000, f"authorization: Bearer {KEYS['few']}")
                await raw.send(asked[:-10])
                await eventually(lambda: hub.gateway.metrics.in_flight == 1)
            await eventually(lambda: hub.gateway.metrics.in_flight == 0)
        for _ in range(3):
            assert (await hub.get("/v2/models", headers=bearer("few")))[0] == 200
            assert (await hub.get("/nothing", headers=bearer("few")))[0] == 404


def test_tokens_come_back_at_the_rate() -> None:
    slow, fast = Bucket(), Bucket()
    for _ in range(2):
        assert slow.wait_s(0.01, 2.0) == 0.0
        slow.take(1)
    assert 0.0 < slow.wait_s(0.01, 2.0) <= 100.0
    assert fast.wait_s(1000.0, 1.0) == 0.0
    fast.take(1)
    assert fast.wait_s(1.0, 1.0) > 0.0
    sleep(0.01)
    assert fast.wait_s(1000.0, 1.0) == 0.0


@pytest.mark.parametrize("host", ["nowhere.invalid", "gateways..svc"])
async def test_a_name_that_is_not_there_changes_no_share(host: str, caplog: pytest.LogCaptureFixture) -> None:
    peers = Peers(host)
    peers.count = 3
    peers.start()
    await eventually(lambda: [one for one in caplog.records if "cannot be counted" in one.getMessage()])
    assert peers.count == 3
    await peers.stop()
    found = Peers("localhost")
    found.count = 3
    found.start()
    await eventually(lambda: found.count == 1)
    await found.stop()
