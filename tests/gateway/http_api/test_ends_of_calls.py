"""How calls end that get no answer of their model: a drain, a caller that hangs up, a full lane, a deadline."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREDICT = "/predict"
GOOD = b'{"features":[1,2,3]}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    mock_model(models, "slow", delay_ms=150, slots=1)
    mock_model(models, "stuck", delay_ms=60_000, slots=1)
    async with running_hub(models, default_model="quick", queue_length=1) as hub:
        yield hub


def pod(hub: Hub) -> str:
    """The address of its only pod."""
    return f"127.0.0.1:{hub.pods[0].port}"


async def value(url: str, line: str) -> float:
    """A metric's value; `line` is its name and labels."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as answer:
        for found in (await answer.text()).splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
    return 0.0


async def becomes(url: str, line: str, wanted: float, within_s: float = 30.0) -> None:
    """Wait until a metric has a value."""
    began = monotonic()
    while (found := await value(url, line)) != wanted:
        assert monotonic() - began < within_s, f"{line} is {found}, not {wanted}"
        await asyncio.sleep(0.02)


def gateway_ops(hub: Hub) -> str:
    """Where the gateway's metrics are."""
    return f"http://127.0.0.1:{hub.gateway.ops.port}"


async def test_while_draining(hub: Hub) -> None:
    async with running_gateway((pod(hub),), default_model="quick", drain_wait_s=0.3) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        async with Raw(gateway.port) as kept, Raw(gateway.port) as other:
            assert "connection" not in (await kept.ask("POST", PREDICT, GOOD)).headers
            draining = asyncio.create_task(gateway.drain())
            await asyncio.sleep(0)
            called = await kept.ask("POST", PREDICT, GOOD)
            assert (called.status, called.headers["connection"]) == (200, "close")
            assert await kept.closed() == b""
            ready = await other.ask("GET", "/readyz")
            assert (ready.status, ready.json) == (503, {"error": "not ready: it is draining"})
            assert ready.headers["connection"] == "close"
        async with Raw(gateway.port) as late:
            assert (await late.ask("GET", "/healthz")).status == 200
        await draining


async def test_a_caller_that_hangs_up_leaves_the_lane_and_ends_the_pods_call(hub: Hub) -> None:
    body = b'{"features":[1],"model_name":"stuck"}'
    pod_ops = f"http://127.0.0.1:{hub.pods[0].ops.port}"
    running = 'inferencehub_inference_running{model="stuck",version="1"}'
    counted = 'inferencehub_gateway_request_seconds_count{front="http",model="stuck",status="499"}'
    before = await value(gateway_ops(hub), counted)
    port = hub.gateway.port
    async with Raw(port) as first, Raw(port) as second, Raw(port) as third:
        for connection in (first, second, third):  # one runs, one waits at the pod, one in the gateway
            await connection.send(request("POST", PREDICT, body))
        await becomes(gateway_ops(hub), 'inferencehub_gateway_running{model="stuck"}', 2)
        await becomes(gateway_ops(hub), 'inferencehub_gateway_queue_length{model="stuck"}', 1)
        await becomes(pod_ops, running, 1)
    await becomes(gateway_ops(hub), 'inferencehub_gateway_running{model="stuck"}', 0)
    await becomes(gateway_ops(hub), 'inferencehub_gateway_queue_length{model="stuck"}', 0)
    await becomes(pod_ops, running, 0)
    await becomes(gateway_ops(hub), counted, before + 3)
    assert await value(gateway_ops(hub), 'inferencehub_gateway_in_flight{front="http"}') == 0
    assert await value(gateway_ops(hub), "inferencehub_gateway_held_bytes") == 0


async def test_a_full_lane_says_when_to_come_again(hub: Hub) -> None:
    answers = await asyncio.gather(
        *[hub.post(PREDICT, {"features": [n], "model_name": "slow"}) for n in range(4)],
        *[hub.post("/v2/models/slow/infer", {"inputs": [
            {"name": "features", "shape": [1], "datatype": "FP32", "data": [1]}]}) for _ in range(4)],
    )  # fmt: skip
    counts = [status for status, _, _ in answers]
    assert counts.count(200) == 3  # one runs, one is on its way, one waits
    assert counts.count(429) == 5
    for status, answer, headers in answers:
        if status == 429:
            assert headers["retry-after"] == "1"
            assert "'slow' is busy" in answer["error"]
            assert "its limit is 1" in answer["error"]


@pytest.mark.parametrize("way", ["header", "parameter", "both", "default"])
async def test_a_deadline_is_kept(hub: Hub, way: str) -> None:
    headers = (
        {"x-request-timeout-ms": "200" if way == "header" else "5000"} if way in ("header", "both") else {}
    )
    body: dict[str, Any] = {"inputs": [{"name": "features", "shape": [1], "datatype": "FP32", "data": [1]}]}
    if way in ("parameter", "both"):
        body["parameters"] = {"timeout": 200_000}
    async with running_gateway(
        (pod(hub),), default_timeout_ms=200 if way == "default" else 30_000
    ) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        url = f"http://127.0.0.1:{gateway.port}/v2/models/stuck/infer"
        began = monotonic()
        async with hub.client.post(url, json=body, headers=headers) as answer:
            took = monotonic() - began
            assert answer.status == 504
            assert "no answer before the request's deadline" in (await answer.json())["error"]
            assert "retry-after" not in answer.headers
    assert 0.199 < took < 4.0, "not those of the other way, 5 or 30 s"
