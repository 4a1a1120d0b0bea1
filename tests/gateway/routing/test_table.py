"""How often the routing table is computed: once for all changes of a pass of the event loop, and only for real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip.unnamed_model import FEATURES
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routing.fit import contract
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.unknown_models import UnknownModels
from tests.hub import Hub, eventually, mock_model, running_hub

NAMES = [f"m{number}" for number in range(12)]
PODS = 3


class CountingTable(RoutingTable):
    """A table that counts its updates, beside the gateway's own one."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet, ByteBudget(10**9), Metrics(None).lane)
        self.updates = 0

    def update(self) -> None:
        """See `RoutingTable`."""
        self.updates += 1
        super().update()


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """Three pods with twelve models each, of two signatures."""
    for name in NAMES:
        mock_model(tmp_path, name)
    async with running_hub(tmp_path, PODS) as hub:
        await eventually(lambda: all(pod.described for pod in hub.gateway.fleet.pods.values()))
        yield hub


async def a_pass() -> None:
    """Let the event loop finish this pass and the next one."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_the_changes_of_a_pass_are_one_update(hub: Hub) -> None:
    fleet = hub.gateway.fleet
    table = CountingTable(fleet)
    table.update()
    assert sorted(table.models()) == sorted(NAMES)
    for pod in fleet.pods.values():
        for name in NAMES:
            pod._set_model(name, False)
    assert table.updates == 1
    await a_pass()
    assert table.updates == 2
    assert not any(table.is_open(name, "") for name in NAMES)
    assert all(lane.absent_since is not None for name in NAMES for lane in table.known(name))
    for pod in fleet.pods.values():
        pod._set_model("m3", True)
    await a_pass()
    assert table.updates == 3
    assert [name for name in NAMES if table.is_open(name, "")] == ["m3"]
    assert [lane.absent_since for lane in table.known("m3")] == [None]


async def test_a_reading_that_brings_nothing_new_is_no_change(hub: Hub) -> None:
    fleet = hub.gateway.fleet
    table = CountingTable(fleet)
    table.update()
    channels = [(pod, pod.channel) for pod in fleet.pods.values()]
    for pod, channel in channels:
        assert channel is not None
        await pod.read(channel)
    await a_pass()
    assert table.updates == 1
    pod, channel = channels[0]
    assert channel is not None
    pod.catalog.models.pop(("m5", "1"))
    pod._set_replicas()  # as if the model were new to it
    await pod.read(channel)
    await a_pass()
    assert table.updates == 2
    (lane,) = table.known("m5")
    assert len(lane.replicas) == PODS


async def test_contracts_are_computed_once_for_each_description(hub: Hub) -> None:
    contract.cache_clear()
    table = CountingTable(hub.gateway.fleet)
    table.update()
    assert contract.cache_info().misses == len(NAMES)
    asked = contract.cache_info()
    table.update()
    assert contract.cache_info() == asked, "nothing has changed, and contracts were compared again"


async def test_a_request_right_after_a_change_finds_the_model(hub: Hub) -> None:
    """Before the update, which is at the end of the pass."""
    fleet = hub.gateway.fleet
    for pod in fleet.pods.values():
        for key in [key for key in pod.catalog.models if key[0] != "m0"]:
            del pod.catalog.models[key]
        pod._set_replicas()
    table = CountingTable(fleet)
    unknown = UnknownModels(fleet, table)
    fleet.changed()
    assert (table.updates, table.known("m0")) == (0, [])
    assert await unknown.unnamed(FEATURES, 30.0) == "m0"
    assert table.updates == 1
    fleet.changed()
    lanes = await unknown.lanes("m0", "", 30.0)
    assert [len(lane.replicas) for lane in lanes] == [PODS]
