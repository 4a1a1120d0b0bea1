"""Who is asked, and what comes of it: real gateways with real requests, a silent one, and EndpointSlices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from inferencehub.scaler.gateways import Gateway, Gateways, Release, gateways_of
from inferencehub.scaler.kube import Kube
from inferencehub.scaler.total import Reading
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub

HUB = Release("prod", "hub")


@asynccontextmanager
async def asking(*addresses: str) -> AsyncIterator[Gateways]:
    gateways = Gateways(Kube("", Path()), "prod")
    gateways.known = {HUB: [Gateway(address, True) for address in addresses]}
    task = asyncio.create_task(gateways.ask())
    try:
        yield gateways
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def reading(gateways: Gateways) -> Reading | None:
    return gateways.totals[HUB].read(monotonic()) if HUB in gateways.totals else None


async def test_two_gateways_that_share_a_pod_add_up_and_a_silent_one_is_told(tmp_path: Path) -> None:
    mock_model(tmp_path, delay_ms=3000, slots=4)
    async with running_hub(tmp_path, pod={"pool": "cpu"}) as hub:
        pod = f"127.0.0.1:{hub.pods[0].port}"
        async with running_gateway((pod,)) as other:
            await eventually(lambda: other.fleet.ready)
            body = {"features": [1.0], "model_name": "quick"}
            asked = [asyncio.create_task(hub.post("/predict", body)) for _ in range(3)]
            beside = Hub(other, [], hub.client)
            asked += [asyncio.create_task(beside.post("/predict", body)) for _ in range(3)]
            await eventually(lambda: all(lanes_of(one) == 3 for one in (hub.gateway, other)))
            addresses = [f"127.0.0.1:{one.ops.port}" for one in (hub.gateway, other)]
            async with asking(*addresses) as gateways:
                await eventually(lambda: reading(gateways) is not None)
                found = reading(gateways)
                assert found is not None
                assert (found.complete, found.gateways) == (True, 2)
                # Six requests on pods of four slots, seen for up to three seconds.
                assert 0.5 < found.pools["cpu"] <= 1.51
                await asyncio.gather(*asked)
                await other.ops.stop(0.1)
                await eventually(lambda: not getattr(reading(gateways), "complete", True))


def lanes_of(gateway: Any) -> int:
    """Requests that wait or run."""
    return sum(
        lane.lane.running + len(lane.lane.queue) for lane in gateway.fleet.routes.get(("quick", ""), [])
    )


async def test_one_that_does_not_answer_holds_up_nobody() -> None:
    server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    frozen = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with running_gateway(("127.0.0.1:1",)) as gateway:
        rounds = 0

        def count() -> None:
            nonlocal rounds
            rounds += 1

        gateways = Gateways(Kube("", Path()), "prod", count)
        gateways.known = {
            HUB: [Gateway(frozen, True)],
            Release("prod", "x"): [Gateway(f"127.0.0.1:{gateway.ops.port}", True)],
        }
        task = asyncio.create_task(gateways.ask())
        await asyncio.sleep(5.6)
        task.cancel()
        assert rounds >= 5
        assert reading(gateways) is None
        found = gateways.totals[Release("prod", "x")].read(monotonic())
        assert found is not None
        assert found.complete
    server.close()


def slice_of(
    release: str, *endpoints: dict[str, Any], port: str = "ops", namespace: str = "prod"
) -> dict[str, Any]:
    labels = {"app.kubernetes.io/instance": release}
    return {
        "metadata": {"namespace": namespace, "labels": labels},
        "ports": [{"name": "other", "port": 1}, {"name": port, "port": 9090}],
        "endpoints": list(endpoints),
    }


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [(None, True), ({}, True), ({"ready": True}, True), ({"ready": False}, False), ({"ready": None}, True)],
)
def test_an_endpoint_takes_requests_or_not(conditions: Any, ready: bool) -> None:
    found = gateways_of([slice_of("hub", {"addresses": ["10.0.0.1"], "conditions": conditions})])
    assert found == {HUB: [Gateway("10.0.0.1:9090", ready)]}


def test_slices_of_a_release_are_one_list() -> None:
    slices = [
        slice_of("hub", {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"]}),
        slice_of("hub", {"addresses": ["fd00::1"]}),
        slice_of("hub", {"addresses": ["10.0.0.9"]}, namespace="test"),
        slice_of("empty"),
        slice_of("odd", {"addresses": ["10.0.0.8"]}, port="http"),
    ]
    addresses = {release: [one.address for one in found] for release, found in gateways_of(slices).items()}
    assert addresses == {
        HUB: ["10.0.0.1:9090", "10.0.0.2:9090", "[fd00::1]:9090"],
        Release("test", "hub"): ["10.0.0.9:9090"],
        Release("prod", "empty"): [],
        Release("prod", "odd"): [],
    }
