"""A pod whose task is stuck is replaced: the pod itself is well, and serves again."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

import pytest

from inferencehub.gateway.pods.channel import Channel
from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.watchdog import MOST_IDLE
from tests.hub import Hub, eventually, mock_model, running_hub

pytestmark = pytest.mark.long


class Stuck(Pod):
    """A pod whose task waits for something that never comes, and loses its first cancellation."""

    async def _connect(self) -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.lost_a_cancellation = True
        raise asyncio.CancelledError

    lost_a_cancellation = False


async def predicted(hub: Hub) -> int:
    status, _, _ = await hub.post("/predict", {"features": [1.0], "model_name": "quick"})
    return status


async def test_a_pod_whose_task_is_stuck_is_replaced_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path, hold_s=0.0) as hub:
        fleet = hub.gateway.fleet
        [(address, pod)] = fleet.pods.items()
        assert await predicted(hub) == 200
        stuck = fleet.pods[address] = Stuck(address, 4, partial(Channel, address, 2**26), fleet.changed)
        await pod.stop()
        fleet.changed()
        assert await predicted(hub) == 503
        with caplog.at_level(logging.ERROR):
            looks = 0
            while fleet.pods[address] is stuck:
                fleet.watchdog.look()
                looks += 1
            assert MOST_IDLE - 2 < looks <= MOST_IDLE + 1, "it looks by itself, too"
        assert [record.message for record in caplog.records] == ["pod replaced, its task was stuck"]
        assert caplog.records[0].__dict__["pod"] == address
        await eventually(lambda: fleet.ready)
        assert await predicted(hub) == 200
        assert stuck.lost_a_cancellation
        await stuck.stop()
        assert fleet.pods[address].up


async def test_a_pod_that_works_or_cannot_be_reached_is_not_replaced(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path) as hub:
        fleet = hub.gateway.fleet
        [pod] = fleet.pods.values()
        for _ in range(3):
            beats = pod.beats
            for _ in range(MOST_IDLE - 2):
                fleet.watchdog.look()
            await eventually(lambda beats=beats: pod.beats > beats)
            fleet.watchdog.look()
        assert list(fleet.pods.values()) == [pod]
        await hub.pods[0].stop()
        await eventually(lambda: not pod.up)
        beats = pod.beats
        await eventually(lambda: pod.beats > beats + 2)
        assert list(fleet.pods.values()) == [pod]
