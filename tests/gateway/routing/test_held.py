"""The bytes that the gateway holds are limited, even before a lane is known, and freed when the caller leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub

NOBODY = ("127.0.0.1:1",)


async def ask(port: int, body: str, **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://127.0.0.1:{port}/predict", data=body, headers=headers) as answer,
    ):
        return answer.status, (await answer.json())["error"]


async def test_requests_for_models_not_heard_of_yet_are_counted() -> None:
    async with running_gateway(NOBODY, queue_length=2, hold_s=2.0) as gateway:
        asked = [asyncio.create_task(ask(gateway.port, '{"features":[1]}')) for _ in range(5)]
        began = monotonic()
        answers = [await task for task in asked]
        assert [status for status, _ in answers] == [503] * 5
        refused = [said for _, said in answers if "2 requests wait already" in said]
        assert len(refused) == 3
        assert monotonic() - began >= 1.8


async def test_the_bytes_of_a_body_count_from_its_first_to_its_answer() -> None:
    async with running_gateway(NOBODY, queue_bytes=20_000, hold_s=1.0) as gateway:
        body = '{"features":[1],"model_name":"' + "x" * 9_000 + '"}'
        asked = [asyncio.create_task(ask(gateway.port, body)) for _ in range(4)]
        await eventually(lambda: gateway.bytes_held.held > 18_000)
        answers = [await task for task in asked]
        assert sorted([status for status, _ in answers]) == [429, 429, 503, 503]
        assert gateway.bytes_held.held == 0
        status, said = await ask(gateway.port, '{"text":"' + "x" * 30_000 + '"}')
        assert (status, said) == (413, "the request has 30011 bytes, expected at most 20000")
        async with Raw(gateway.port) as raw:
            await raw.send(request("POST", "/predict", None, "content-length: 15000") + b"x" * 10_000)
            await eventually(lambda: gateway.bytes_held.held == 10_000)
        await eventually(lambda: gateway.bytes_held.held == 0)


async def test_a_caller_that_hangs_up_while_nobody_is_there_is_forgotten() -> None:
    async with running_gateway(NOBODY, hold_s=30.0) as gateway:
        async with Raw(gateway.port) as raw:
            await raw.send(request("POST", "/predict", b'{"features":[1]}'))
            await eventually(lambda: gateway.bytes_held.held > 0)
        assert await eventually(lambda: gateway.bytes_held.held == 0) < 15.0


async def test_a_deadline_before_the_end_of_the_holding_time_is_a_deadline() -> None:
    async with running_gateway(NOBODY, hold_s=20.0) as gateway:
        began = monotonic()
        status, said = await ask(gateway.port, '{"features":[1]}', **{"x-request-timeout-ms": "200"})
        assert (status, "deadline" in said) == (504, True)
        assert monotonic() - began < 15.0


@pytest.mark.parametrize("first", ["class_id", "klass"])
async def test_predict_reads_the_outputs_of_the_release_that_answered(tmp_path: Path, first: str) -> None:
    names = ["class_id", "klass"] if first == "class_id" else ["klass", "class_id"]
    for release in names:
        mock_model(tmp_path / release)
        config = tmp_path / release / "quick" / "config.pbtxt"
        config.write_text(config.read_text().replace("class_id", release))
    async with running_hub(tmp_path / names[0]) as old, running_hub(tmp_path / names[1]) as new:
        addresses = tuple(f"127.0.0.1:{hub.pods[0].port}" for hub in (old, new))
        async with running_gateway(addresses) as gateway, aiohttp.ClientSession() as client:
            await eventually(lambda: sum(b.up for b in gateway.fleet.pods.values()) == 2)
            await eventually(lambda: len(gateway.table.routes.get(("quick", ""), [])) == 2)
            hub = Hub(gateway, [], client)
            served = set()
            for number in range(20):
                status, answer, headers = await hub.post(
                    "/predict", {"features": [number], "model_name": "quick"}
                )
                assert status == 200, answer
                served.add(headers["x-served-by"])
            assert served == set(addresses)


async def test_a_request_that_fits_the_budget_once_is_not_counted_twice() -> None:
    async with running_hub(queue_bytes=3_000_000) as hub:
        numbers = ", ".join(["1.0"] * 400_000)  # 2 MB of JSON, 1.6 MB of FP32
        body = f'{{"features":[{numbers}],"model_name":"v1-mock"}}'
        status, answer, _ = await hub.post("/predict", body.encode())
        assert (status, answer["error"]) == (200, "")


async def test_a_page_whose_caller_has_left_does_not_wait_on() -> None:
    async with running_gateway(NOBODY, on_demand_models=("pool/sleepy:1",), activation_s=30.0) as gateway:
        async with Raw(gateway.port) as raw:
            await raw.send(request("GET", "/v2/models/sleepy"))
            await eventually(lambda: gateway.unknown.held == {"sleepy": 1})
        await eventually(lambda: not gateway.unknown.held)
