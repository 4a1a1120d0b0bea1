"""Which gateways the scaler asks, and the result: gateways with real requests, a silent one, and EndpointSlices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from inferencehub.scaler.demand.gateways import Gateways, PolledGateway, Release, caller, gateways_of
from inferencehub.scaler.demand.total import Reading
from inferencehub.scaler.kube import Kube
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub
from tests.scaler.kubernetes import TOKEN, kubernetes

pytestmark = pytest.mark.long

HUB = Release("prod", "hub")


@asynccontextmanager
async def asking(*addresses: str) -> AsyncIterator[Gateways]:
    gateways = Gateways(Kube("", Path()), "prod")
    gateways.take({HUB: [PolledGateway(address, True) for address in addresses]})
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
        lane.lane.in_use.jobs + len(lane.lane.queue) for lane in gateway.table.routes.get(("quick", ""), [])
    )


async def test_one_that_does_not_answer_holds_up_nobody() -> None:
    server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    frozen = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with running_gateway(("127.0.0.1:1",)) as gateway:
        gateways = Gateways(Kube("", Path()), "prod")
        gateways.take(
            {
                HUB: [PolledGateway(frozen, True)],
                Release("prod", "x"): [PolledGateway(f"127.0.0.1:{gateway.ops.port}", True)],
            }
        )
        task = asyncio.create_task(gateways.ask())
        other = Release("prod", "x")
        # It is known after rounds of four seconds, of which none waited for the frozen one.
        await eventually(lambda: other in gateways.totals and gateways.totals[other].read(monotonic()))
        task.cancel()
        assert reading(gateways) is None
    server.close()


@asynccontextmanager
async def speaking(
    answer: bytes, again: bytes = b"", heard: Callable[[int], None] = lambda sent: None
) -> AsyncIterator[str]:
    """A server that answers so whatever it is asked, and then says `again` for as long as anybody listens."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while again:
                writer.write(again)
                await writer.drain()
                heard(len(again))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def rounds(known: dict[Release, list[PolledGateway]], count: int) -> Gateways:
    """Gateways that were asked so often."""
    gateways = Gateways(Kube("", Path()), "")
    async with caller() as session:
        for _ in range(count):
            await gateways.round(session, known)
    return gateways


OK = b"HTTP/1.1 200 OK\r\n"


async def test_many_that_do_not_answer_hold_up_nobody() -> None:
    body = b'{"window_s":1,"models":[]}'
    hole = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "0.0.0.0", 0)
    port = hole.sockets[0].getsockname()[1]
    async with speaking(OK + b"content-length: %d\r\n\r\n" % len(body) + body) as address:
        silent = [PolledGateway(f"127.0.{2 + one // 125}.{1 + one % 125}:{port}", True) for one in range(250)]
        last = Release("z", "hub")
        gateways = await rounds({HUB: silent, last: [PolledGateway(address, True)]}, 1)
    hole.close()
    assert len(gateways.silent) == 250


async def test_an_answer_without_an_end_takes_no_memory() -> None:
    """Who may make a Service may have its pods asked, and the scaler serves a whole cluster."""
    sent: list[int] = []
    async with speaking(OK + b"\r\n", b" " * 2**20, sent.append) as address:
        gateways = await rounds({HUB: [PolledGateway(address, True)]}, 1)
    assert gateways.silent == {address}
    assert sum(sent) < 32 * 2**20


async def test_nobody_sends_the_scaler_elsewhere() -> None:
    body = b'{"window_s":1,"models":[]}'
    async with speaking(OK + b"content-length: %d\r\n\r\n" % len(body) + body) as inner:
        moved = f"HTTP/1.1 302 Found\r\nlocation: http://{inner}/demand\r\ncontent-length: 0\r\n\r\n"
        async with speaking(moved.encode()) as address:
            gateways = await rounds({HUB: [PolledGateway(address, True), PolledGateway(inner, True)]}, 1)
    assert gateways.silent == {address}


async def test_a_name_that_is_none_is_silent_and_stops_nobody() -> None:
    gateways = await rounds({HUB: [PolledGateway(f"{'a' * 100}.example:9090", True)]}, 2)
    assert len(gateways.silent) == 1


async def test_who_cannot_see_who_is_there_says_nothing(tmp_path: Path) -> None:
    """A gateway that came meanwhile would be missing from the sum, and nobody would know."""
    path = "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices/hub-1"
    async with (
        kubernetes(tmp_path, watch_s=1) as (server, kube),
        running_gateway(("127.0.0.1:1",)) as gateway,
    ):
        address = {"addresses": ["127.0.0.1"], "conditions": {"ready": True}}
        found = slice_of("hub", address) | {"ports": [{"name": "ops", "port": gateway.ops.port}]}
        found["metadata"]["labels"]["inferencehub/demand"] = "true"
        server.write(path, found)
        gateways = Gateways(kube, "prod", stale_s=2.0)
        tasks = [asyncio.create_task(work()) for work in (gateways.follow, gateways.ask)]
        await eventually(lambda: reading(gateways) is not None)
        # For longer than a list is believed it was confirmed, though nothing changed.
        listed = f"GET {path.rpartition('/')[0]}?"
        seen = server.count(listed)
        await eventually(lambda: server.count(listed) >= seen + 5)
        await eventually(lambda: getattr(reading(gateways), "age_s", 9.0) < 1.5)
        server.tokens = set()
        server.cut()
        await eventually(lambda: getattr(reading(gateways), "age_s", 0.0) > 2.0)
        server.tokens = {TOKEN}
        await eventually(lambda: getattr(reading(gateways), "age_s", 9.0) < 1.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
    assert found == {HUB: [PolledGateway("10.0.0.1:9090", ready)]}


def test_slices_that_tell_no_address_to_ask_are_passed_over() -> None:
    """EndpointSlices of others may have our label, and a port without a number means all."""
    whole = slice_of("hub", {"addresses": ["10.0.0.1"]})
    names = slice_of("hub", {"addresses": ["db.example.com"]}) | {"addressType": "FQDN"}
    any_port = slice_of("hub", {"addresses": ["10.0.0.2"]}) | {"ports": [{"name": "ops"}]}
    assert gateways_of([whole, names, any_port]) == {HUB: [PolledGateway("10.0.0.1:9090", True)]}


def test_a_port_says_that_it_speaks_tls() -> None:
    """The Service's appProtocol stands in its EndpointSlices."""
    secure = slice_of("hub", {"addresses": ["10.0.0.1"]})
    secure["ports"][1]["appProtocol"] = "https"
    assert gateways_of([secure]) == {HUB: [PolledGateway("10.0.0.1:9090", True, secure=True)]}


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
