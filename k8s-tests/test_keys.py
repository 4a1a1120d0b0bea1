"""API keys on the cluster: a changed Secret takes hold at all gateways while calls go on."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
from cluster import DIRECT, QUICK, Release, eventually, mock_models, release, run

from inferencehub.core.auth.key_file import digest, new_key

KEYS = {name: new_key(name) for name in ("stays", "goes", "comes")}


def secret(name: str, **entries: str) -> dict[str, Any]:
    """A Secret."""
    data = {key.replace("_", "."): b64encode(value.encode()).decode() for key, value in entries.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def keys(*names: str) -> dict[str, Any]:
    """The Secret with the file of these keys."""
    entries = [{"id": name, "sha256": digest(KEYS[name].encode()).hex()} for name in names]
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


def reloads(hub: Release) -> None:
    """Wait until each gateway has taken the changed file."""
    wanted = 'inferencehub_gateway_reloads_total{setting="HUB_API_KEYS"} 1.0'
    for pod in hub.ready("gateway"):
        with hub.forwarded(f"pod/{pod.name}", 9090) as address:

            def has_taken(address: str = address) -> bool:
                with DIRECT.open(f"http://{address}/metrics") as answer:
                    return wanted in answer.read().decode().splitlines()

            eventually(has_taken, f"{pod.name} has taken the keys")


async def test_changed_keys_take_hold_and_cost_nobody_else_a_call(hub: Release, figure: Any) -> None:
    url, body = f"{hub.url()}/predict", {"features": [1.0], "model_name": "quick"}
    stays: list[int] = []

    async def status(client: aiohttp.ClientSession, name: str) -> int:
        """Over a new connection, so that each gateway is met."""
        headers = {"authorization": f"Bearer {KEYS[name]}", "connection": "close"}
        async with client.post(url, json=body, headers=headers) as answer:
            return answer.status

    async with aiohttp.ClientSession() as client:
        assert [await status(client, name) for name in KEYS] == [200, 200, 401]

        async def go_on() -> None:
            while True:
                stays.append(await status(client, "stays"))

        callers = [asyncio.create_task(go_on()) for _ in range(4)]
        began = monotonic()
        await asyncio.to_thread(hub.put_secrets, "gateway", keys("stays", "comes"))
        await asyncio.to_thread(reloads, hub)
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


def test_helm_test_has_a_key(hub: Release) -> None:
    run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")
