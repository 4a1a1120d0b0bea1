"""A request that takes its pod along, beside the traffic of another gateway: nobody else is blamed for it."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.pod_processes import gateway_to, pods_of
from tests.gateway.pods.test_poison import KILLED, ask, deadly_model, up
from tests.hub import Hub, eventually

pytestmark = pytest.mark.long

CLIENTS = 12  # of each gateway


@pytest.mark.parametrize(("max_batch_size", "instances"), [(8, 2), (0, 3)], ids=["merged", "3 beside"])
async def test_a_poison_at_one_gateway_costs_two_pods_and_nobody_of_either_gateway(
    tmp_path: Path, max_batch_size: int, instances: int
) -> None:
    deadly_model(tmp_path, max_batch_size, instances)
    rows, stopped = bool(max_batch_size), asyncio.Event()
    wrong: list[Any] = []
    answered = 0

    async def client(hub: Hub, first: int) -> None:
        nonlocal answered
        for number in itertools.count(first, 1000):
            if stopped.is_set():
                return
            answer = await ask(hub, float(number % 10_000), rows)
            answered += 1
            if answer != (200, [2.0 * (number % 10_000), 2.0]):
                wrong.append(answer)

    async with (
        pods_of(*[tmp_path] * 4) as pods,
        gateway_to(*pods, hold_s=30) as one,
        gateway_to(*pods, hold_s=30) as other,
    ):
        clients = [
            asyncio.create_task(client(hub, number))
            for number, hub in enumerate([*[one] * CLIENTS, *[other] * CLIENTS])
        ]
        await eventually(lambda: answered > 50)
        assert await ask(one, -9, rows) == (500, KILLED)
        before = answered
        await eventually(lambda: answered > before + 100)
        stopped.set()
        await asyncio.gather(*clients)
        assert wrong == []
        await eventually(lambda: (up(one), up(other)) == (2, 2))
