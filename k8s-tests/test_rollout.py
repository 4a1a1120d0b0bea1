"""Constant load from 32 clients through a NodePort while pods come and go: no request may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import Any

import pytest
from cluster import QUICK, Release, eventually, mock_models, release, send_signal

from tests.load import Load

VALUES = {
    "models": mock_models(quick=QUICK),
    "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
    "gateway": {"replicas": 2, "service": {"type": "NodePort"}, "minReadySeconds": 2},
    "inference": {"replicas": 2, "minReadySeconds": 2},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    with release(VALUES, "hub-rollout") as hub:
        yield hub


def settled(hub: Release, gateways: int = 2, pods: int = 2) -> None:
    """Wait until the release is whole and its gateways see all pods."""
    eventually(
        lambda: len(hub.ready("gateway")) == len(hub.pods("gateway")) == gateways, f"{gateways} gateways"
    )
    eventually(lambda: len(hub.ready("inference")) == len(hub.pods("inference")) == pods, f"{pods} pods")
    eventually(lambda: hub.backends_up() == pods, f"gateways see {pods} pods", every_s=1)


def whole(hub: Release, component: str) -> bool:
    """Whether both pods of a component are ready and no third one is there."""
    return len(hub.ready(component)) == len(hub.pods(component)) == 2


async def under_load(hub: Release, change: Any, figure: Any, after_s: float = 3.0) -> Load:
    """Load before, during and for a while after a change; what it saw."""
    load = Load(hub.url(), workers=32)
    async with load:
        await asyncio.sleep(2)
        began = monotonic()
        await asyncio.to_thread(change)
        took = monotonic() - began
        await asyncio.sleep(after_s)
    figure(
        f"{load.good + len(load.failed)} sent, {len(load.failed)} failed, longest gap {load.longest_gap:.2f} s, change took {took:.1f} s"
    )
    assert load.good > 200
    assert not load.failed
    return load


async def test_rolling_update_of_the_inference_tier(hub: Release, figure: Any) -> None:
    settled(hub)
    await under_load(hub, lambda: hub.restart(hub.inference()), figure, after_s=8.0)


async def test_rolling_update_of_the_gateway(hub: Release, figure: Any) -> None:
    settled(hub)
    await under_load(hub, lambda: hub.restart(hub.gateway), figure, after_s=8.0)


async def test_pods_are_deleted(hub: Release, figure: Any) -> None:
    settled(hub)

    def delete() -> None:
        for component in ("inference", "gateway"):
            hub.kubectl("delete", "pod", hub.ready(component)[0].name, "--wait=false")
            eventually(partial(whole, hub, component), "a new pod took its place")

    await under_load(hub, delete, figure)


async def test_inference_process_is_killed(hub: Release, figure: Any) -> None:
    settled(hub)
    victim = hub.ready("inference")[0]
    before = victim.restarts

    def crash() -> None:
        send_signal(victim, "inference")
        eventually(
            lambda: sum(p.restarts for p in hub.pods("inference") if p.name == victim.name) > before,
            "it restarts",
        )
        eventually(lambda: len(hub.ready("inference")) == 2, "it is back")

    load = await under_load(hub, crash, figure)
    assert len(load.served) == 2
