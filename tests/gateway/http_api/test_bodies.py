"""Bodies that come in pieces, on both event loops, because each loop passes bytes to a protocol in its own way."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from inferencehub.core.http1.body import KnownBody
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.call import HttpCall
from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_hub

INFER = "/v2/models/quick/infer"
RUN: dict[str, Callable[[Any], Any]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}
Scenario = Callable[[Path], Awaitable[None]]


def on_both_loops(scenario: Scenario) -> Any:
    """A test that runs a scenario on each."""

    @pytest.mark.parametrize("loop", RUN)
    def test(loop: str, tmp_path: Path) -> None:
        RUN[loop](scenario(tmp_path))

    return test


@asynccontextmanager
async def hub_at(folder: Path, **settings: Any) -> AsyncIterator[Hub]:
    """A hub with a model that takes any number of numbers."""
    mock_model(folder)
    async with running_hub(folder, default_model="quick", **settings) as hub:
        yield hub


def binary(count: int, path: str = INFER) -> bytes:
    """A request with so many numbers as bytes."""
    x = {
        "name": "features",
        "shape": [count],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * count},
    }
    head = json.dumps({"inputs": [x]}).encode()
    return request("POST", path, head + bytes(4 * count), f"inference-header-content-length: {len(head)}")


def quiet(hub: Hub) -> bool:
    """Whether nothing is held or runs."""
    return hub.gateway.bytes_held.held == 0 and hub.gateway.metrics.in_flight == 0


async def in_pieces(raw: Raw, whole: bytes, *cuts: int) -> None:
    """Send a request cut at these places."""
    for start, end in zip((0, *cuts), (*cuts, len(whole)), strict=True):
        await raw.send(whole[start:end])
        await asyncio.sleep(0.02)


async def _all_sizes(folder: Path) -> None:
    async with hub_at(folder) as hub, Raw(hub.gateway.port) as raw:
        for count in (1, 1_000, 200_000, 1_000_000):
            whole = binary(count)
            end = whole.index(b"\r\n\r\n") + 4
            answers = []
            for cuts in ((), (10,), (end,), (end + 1,), (end, end + 50, len(whole) - 1), (len(whole) - 2,)):
                await in_pieces(raw, whole, *cuts)
                answers.append((await raw.read()).json)
            assert all(answer == answers[0] for answer in answers)
            assert answers[0]["outputs"]
        assert quiet(hub)


async def _a_connection_lives_on(folder: Path) -> None:
    async with (
        hub_at(folder, header_timeout_s=0.3, body_timeout_s=0.5) as hub,
        Raw(hub.gateway.port) as first,
    ):
        for whole in (binary(3), binary(100_000)):
            await first.send(whole)
            assert (await first.read()).status == 200
            async with Raw(hub.gateway.port) as raw:
                for cuts in ((), (len(whole) - 2,), ()):
                    await in_pieces(raw, whole, *cuts)
                    assert (await raw.read()).status == 200
                    await asyncio.sleep(0.6)


async def _next_one_behind_it(folder: Path) -> None:
    async with hub_at(folder) as hub, Raw(hub.gateway.port) as raw:
        first, second = binary(100_000), request("POST", "/predict", b'{"features":[1]}')
        await raw.send(first[:-5])
        await asyncio.sleep(0.05)
        await raw.send(first[-5:] + second + binary(3))
        answers = [await raw.read() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert "class_id" in answers[1].json


async def _json_and_predict(folder: Path) -> None:
    async with hub_at(folder) as hub, Raw(hub.gateway.port) as raw:
        for count in (100_000, 400_000):  # the larger is decoded in a thread
            data = [1.5] * count
            x = {"name": "features", "shape": [count], "datatype": "FP32", "data": data}
            for path, body in ((INFER, {"inputs": [x]}), ("/predict", {"features": data})):
                await in_pieces(raw, request("POST", path, json.dumps(body).encode()), 1000, 200_000)
                assert (await raw.read()).status == 200
        assert quiet(hub)


async def _empty_lines_in_front(folder: Path) -> None:
    async with hub_at(folder) as hub:
        for front in (b"\r\n", b"\r\n\r\n"):
            async with Raw(hub.gateway.port) as raw:
                whole = binary(100_000)
                for _ in range(2):
                    await in_pieces(raw, front + whole, 1000, 200_000)
                    assert (await raw.read()).status == 200
                await in_pieces(raw, front + request("POST", "/predict", b'{"features":[1]}'))
                assert (await raw.read()).json["error"] == ""
        assert quiet(hub)


async def _nobody_there(folder: Path) -> None:
    async with hub_at(folder) as hub, Raw(hub.gateway.port) as raw:
        await in_pieces(raw, binary(100_000, "/v2/models/nobody/infer"), 1000, 150_000)
        assert (await raw.read()).status == 404
        await in_pieces(raw, binary(100_000), 1000)
        assert (await raw.read()).status == 200
        assert quiet(hub)


async def _too_slow(folder: Path) -> None:
    async with hub_at(folder, body_timeout_s=0.4) as hub, Raw(hub.gateway.port) as raw:
        whole = binary(100_000)
        await raw.send(whole[:100_000])
        answer = await raw.read()
        got = 100_000 - whole.index(b"\r\n\r\n") - 4
        assert answer.status == 408
        assert answer.json == {"error": f"expected the whole body within 0.4 s, got {got} bytes until then"}
        assert await raw.closed() == b""
        await eventually(lambda: quiet(hub))


async def _caller_leaves(folder: Path) -> None:
    async with hub_at(folder) as hub:
        async with Raw(hub.gateway.port) as raw:
            await in_pieces(raw, binary(100_000)[:-1], 1000)
            await eventually(lambda: hub.gateway.bytes_held.held > 390_000)
        await eventually(lambda: quiet(hub))
        assert 'status="499"' in await hub.metrics()


async def _nothing_left(folder: Path) -> None:
    async with hub_at(folder) as hub:
        gc.collect()
        before = bodies()  # of other tests
        gc.disable()
        try:
            async with Raw(hub.gateway.port) as raw:
                await in_pieces(raw, binary(100_000)[:-1], 1000)
                await eventually(lambda: hub.gateway.bytes_held.held > 390_000)
                assert len(bodies()) == len(before) + 3
            await eventually(lambda: quiet(hub))
            await asyncio.sleep(0.05)
            left = [type(thing).__name__ for thing in bodies() if not any(thing is one for one in before)]
        finally:
            gc.enable()
        assert not left


def bodies() -> list[object]:
    """What there is for each body that comes in pieces."""
    return [thing for thing in gc.get_objects() if type(thing) in (KnownBody, HttpCall, Exchange)]


async def _too_much(folder: Path) -> None:
    async with (
        hub_at(folder, queue_bytes=500_000) as hub,
        Raw(hub.gateway.port) as raw,
        Raw(hub.gateway.port) as other,
    ):
        await raw.send(binary(100_000)[:-1])
        await eventually(lambda: hub.gateway.bytes_held.held > 390_000)
        await in_pieces(other, binary(100_000), 1000, 150_000)
        answer = await other.read()
        assert answer.status == 429
        assert "the limit is 500000" in answer.json["error"]
        await raw.send(b"\0")
        assert (await raw.read()).status == 200
        await in_pieces(other, binary(100_000), 1000)
        assert (await other.read()).status == 200
        assert quiet(hub)


async def _the_end(folder: Path) -> None:
    async with hub_at(folder, drain_timeout_s=0.3) as hub, Raw(hub.gateway.port) as raw:
        await raw.send(binary(100_000)[:-1])
        await eventually(lambda: hub.gateway.bytes_held.held > 390_000)
        await hub.gateway.stop()
        answer = await raw.read()
        assert answer.status == 503
        assert "the gateway ends" in answer.json["error"]


test_all_sizes_in_any_pieces = on_both_loops(_all_sizes)
test_the_next_request_may_follow_at_once = on_both_loops(_next_one_behind_it)
test_a_connection_that_is_answered_lives_on = on_both_loops(_a_connection_lives_on)
test_empty_lines_in_front_of_a_request_are_skipped = on_both_loops(_empty_lines_in_front)
test_json_and_predict = on_both_loops(_json_and_predict)
test_a_model_that_nobody_serves = on_both_loops(_nobody_there)
test_a_body_that_is_too_slow_is_refused = on_both_loops(_too_slow)
test_a_caller_that_leaves_holds_nothing = on_both_loops(_caller_leaves)
test_a_body_that_was_broken_off_leaves_nothing_for_the_collector = on_both_loops(_nothing_left)
test_more_than_the_process_may_hold_is_refused = on_both_loops(_too_much)
test_a_process_that_ends_says_so = on_both_loops(_the_end)
