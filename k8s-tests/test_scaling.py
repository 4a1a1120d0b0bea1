"""Pods that are added get their share at once, pods that are taken away lose nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from cluster import QUICK, Release, eventually, mock_models, release

from tests.load import Load

VALUES = {
    "models": mock_models(quick=QUICK),
    "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
    "gateway": {"replicas": 1, "service": {"type": "NodePort"}},
    "inference": {"replicas": 1},
}
WITHIN_S = 5.0


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    with release(VALUES, "hub-scaling") as hub:
        yield hub


async def test_new_pods_get_their_share_within_5_s(hub: Release, figure: Any) -> None:
    async with Load(hub.url(), workers=32) as load:
        await asyncio.sleep(2)
        old = {pod.ip for pod in hub.ready("inference")}
        became_ready: dict[str, float] = {}
        await asyncio.to_thread(hub.scale, 4)
        began = monotonic()
        while len(became_ready) < 3:
            assert monotonic() - began < 90, "three new pods"
            for pod in await asyncio.to_thread(hub.ready, "inference"):
                if pod.ip not in old:
                    became_ready.setdefault(pod.ip, monotonic())
            await asyncio.sleep(0.1)
        await asyncio.sleep(max(0.0, max(became_ready.values()) + WITHIN_S - monotonic()))
        before = Counter(load.served)
        await asyncio.sleep(4)
        after = Counter(load.served)
    share = {pod: (after[pod] - before[pod]) / (after - before).total() for pod in after}
    first = {ip: load.first.get(f"{ip}:50051", float("inf")) - ready for ip, ready in became_ready.items()}
    figure(f"first request {', '.join(f'{s:.1f}' for s in first.values())} s after a pod was ready; "
           f"shares {', '.join(f'{part:.0%}' for part in share.values())}; {load.good} answered, {len(load.failed)} failed")  # fmt: skip
    assert not load.failed
    assert all(seconds <= WITHIN_S for seconds in first.values())
    assert all(share[f"{ip}:50051"] >= 0.15 for ip in became_ready)


async def test_scaling_down_loses_nothing(hub: Release, figure: Any) -> None:
    if len(hub.ready("inference")) != 4:
        hub.scale(4)
        eventually(lambda: len(hub.ready("inference")) == 4, "four pods")
        eventually(lambda: hub.backends_up() == 4, "the gateway sees four", every_s=1)
    async with Load(hub.url(), workers=32) as load:
        await asyncio.sleep(2)
        await asyncio.to_thread(hub.scale, 2)
        await asyncio.to_thread(eventually, lambda: len(hub.pods("inference")) == 2, "two pods are gone")
        await asyncio.sleep(2)
    figure(
        f"{load.good + len(load.failed)} sent, {len(load.failed)} failed, longest gap {load.longest_gap:.2f} s"
    )
    assert not load.failed
