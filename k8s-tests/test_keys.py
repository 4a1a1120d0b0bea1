"""API keys on the cluster: a changed Secret takes hold at all gateways while calls go on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
from cluster import QUICK, Release, mock_models, release, run, secret, shown

from inferencehub.core.auth.key_file import digest, new_key

KEYS = {name: new_key(name) for name in ("stays", "goes", "comes", "rated")}
RATE, BURST = 10, 10


def keys(*names: str) -> dict[str, Any]:
    """The Secret with the file of these keys."""
    entries: list[dict[str, Any]] = [
        {"id": name, "sha256": digest(KEYS[name].encode()).hex()} for name in names
    ]
    entries.append({**entries[0], "id": "rated", "sha256": digest(KEYS["rated"].encode()).hex()})
    entries[-1] |= {"rate": RATE, "burst": BURST}
    return secret("keys", keys_json=json.dumps({"keys": entries}))


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    values = {
        "models": mock_models(quick=QUICK),
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None, "keySecret": "mine"},
        "gateway": {"replicas": 2, "service": {"type": "NodePort"}},
        "auth": {"apiKeys": {"existingSecret": "keys"}},
        "extraObjects": [keys("stays", "goes"), secret("mine", key=KEYS["stays"])],
    }
    with release(values, "hub-keys") as hub:
        yield hub


async def test_changed_keys_take_hold_and_cost_nobody_else_a_call(hub: Release, figure: Any) -> None:
    url, body = f"{hub.url()}/predict", {"features": [1.0], "model_name": "quick"}
    stays: list[int] = []

    async def status(client: aiohttp.ClientSession, name: str) -> int:
        """Over a new connection, so that each gateway is met."""
        headers = {"authorization": f"Bearer {KEYS[name]}", "connection": "close"}
        async with client.post(url, json=body, headers=headers) as answer:
            return answer.status

    async with aiohttp.ClientSession() as client:
        assert [await status(client, name) for name in ("stays", "goes", "comes")] == [200, 200, 401]

        async def go_on() -> None:
            while True:
                stays.append(await status(client, "stays"))

        callers = [asyncio.create_task(go_on()) for _ in range(4)]
        began = monotonic()
        await asyncio.to_thread(hub.put_secrets, "gateway", keys("stays", "comes"))
        taken = 'inferencehub_gateway_reloads_total{setting="HUB_API_KEYS"} 1.0'
        await asyncio.to_thread(shown, hub, taken)
        took = monotonic() - began
        for _ in range(20):
            assert [await status(client, name) for name in ("goes", "comes")] == [401, 200]
        for caller in callers:
            caller.cancel()
    figure(
        f"keys taken by both gateways {took:.1f} s after the Secret changed; {len(stays)} calls beside, all answered"
    )
    assert set(stays) == {200}
    assert took < 10


async def test_a_rate_holds_over_both_gateways(hub: Release, figure: Any) -> None:
    """Six times as many calls as the key may make, over new connections, so that each gateway gets half of them."""
    url, seconds, statuses = f"{hub.url()}/predict", 10, Counter[int]()
    headers = {"authorization": f"Bearer {KEYS['rated']}", "connection": "close"}

    async def call(client: aiohttp.ClientSession) -> None:
        body = {"features": [1.0], "model_name": "quick"}
        async with client.post(url, json=body, headers=headers) as answer:
            statuses[answer.status] += 1
            assert answer.status == 200 or "ratelimit" in answer.headers

    await asyncio.to_thread(shown, hub, "inferencehub_gateway_peers 2.0")
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as tasks:
        for _ in range(6 * RATE * seconds):
            tasks.create_task(call(client))
            await asyncio.sleep(1 / (6 * RATE))
    allowed = BURST + RATE * seconds
    figure(f"{statuses[200]} calls answered of {sum(statuses.values())}, the key allows {allowed}")
    assert set(statuses) == {200, 429}
    assert 0.75 * allowed < statuses[200] < 1.25 * allowed


def test_helm_test_has_a_key(hub: Release) -> None:
    run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")
