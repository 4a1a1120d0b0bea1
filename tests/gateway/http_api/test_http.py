"""Good requests over HTTP: their headers, encodings and connections."""

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.raw import Raw, request
from tests.hub import Hub, mock_model, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREDICT = "/predict"
GOOD = b'{"features":[1,2,3]}'
SLOW = b'{"features":[1,2,3],"model_name":"slow"}'
CALL_TIMING = re.compile(
    r"queue;dur=[\d.]+, batch;dur=[\d.]+, network;dur=[\d.]+, compute;dur=([\d.]+), total;dur=([\d.]+)"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    mock_model(models, "slow", delay_ms=150, slots=1)
    async with running_hub(models, default_model="quick", queue_length=1) as hub:
        yield hub


@asynccontextmanager
async def raw(hub: Hub) -> AsyncIterator[Raw]:
    """A connection to the hub."""
    async with Raw(hub.gateway.port) as connection:
        yield connection


@pytest.mark.parametrize("id", ["7", "a" * 128, "job/5,6;7:{}\"'"])
async def test_a_request_id_is_taken_and_returned(hub: Hub, id: str) -> None:
    async with raw(hub) as connection:
        for method, path, body in (("POST", PREDICT, GOOD), ("POST", PREDICT, b"no"), ("GET", "/v2", None)):
            assert (await connection.ask(method, path, body, f"x-request-id: {id}")).headers[
                "x-request-id"
            ] == id


async def test_a_request_id_is_made_where_there_is_none(hub: Hub) -> None:
    async with raw(hub) as connection:
        made = {(await connection.ask("POST", PREDICT, GOOD)).headers["x-request-id"] for _ in range(50)}
    assert len(made) == 50


async def test_server_timing_served_by_and_model_version(hub: Hub) -> None:
    async with raw(hub) as connection:
        began = monotonic()
        called = await connection.ask("POST", PREDICT, SLOW)
        took_ms = (monotonic() - began) * 1000
        found = CALL_TIMING.fullmatch(called.headers["server-timing"])
        assert found
        assert 149 < float(found[1]) <= float(found[2]) < took_ms + 1
        assert called.headers["x-served-by"] == f"127.0.0.1:{hub.pods[0].port}"
        assert called.headers["x-model-version"] == "1"
        for path, body in ((PREDICT, b"no"), ("/nothing", b"{}")):
            other = await connection.ask("POST", path, body)
            assert re.fullmatch(r"total;dur=[\d.]+", other.headers["server-timing"])
            assert "x-served-by" not in other.headers
            assert "x-model-version" not in other.headers


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress),
     ("identity", bytes)],
)  # fmt: skip
async def test_compressed_bodies(hub: Hub, encoding: str, pack: Any) -> None:
    async with raw(hub) as connection:
        plain = await connection.ask("POST", PREDICT, GOOD)
        packed = await connection.ask("POST", PREDICT, pack(GOOD), f"content-encoding: {encoding}")
    assert packed.status == 200
    assert packed.body == plain.body


async def test_a_body_in_chunks_and_one_that_comes_in_pieces(hub: Hub) -> None:
    chunks = b"".join([b"1\r\n%c\r\n" % byte for byte in GOOD]) + b"0\r\n\r\n"
    async with raw(hub) as connection:
        plain = await connection.ask("POST", PREDICT, GOOD)
        await connection.send(request("POST", PREDICT, b"", "transfer-encoding: chunked") + chunks)
        assert (await connection.read()).body == plain.body
        for part in (request("POST", PREDICT, GOOD)[:30], request("POST", PREDICT, GOOD)[30:-5], GOOD[-5:]):
            await connection.send(part)
            await asyncio.sleep(0.01)
        assert (await connection.read()).body == plain.body


async def test_a_connection_is_kept_and_answers_do_not_mix(hub: Hub) -> None:
    async with raw(hub) as connection:
        bodies = [b'{"features":[%d]}' % n for n in range(40)]
        alone = [(await connection.ask("POST", PREDICT, body)).body for body in bodies]
        bodies[7] = SLOW
        alone[7] = (await connection.ask("POST", PREDICT, SLOW)).body
        requests = [request("POST", PREDICT, body, f"x-request-id: {n}") for n, body in enumerate(bodies)]
        await connection.send(b"".join(requests))
        answers = [await connection.read() for _ in bodies]
    assert [answer.headers["x-request-id"] for answer in answers] == [str(n) for n in range(40)]
    assert [answer.body for answer in answers] == alone
    assert len(set(alone)) > 5


async def test_a_connection_is_closed_where_the_caller_wants_that(hub: Hub) -> None:
    async with raw(hub) as connection:
        answer = await connection.ask("POST", PREDICT, GOOD, "connection: close")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await connection.closed() == b""


async def test_who_expects_to_be_told_to_continue_is_told(hub: Hub) -> None:
    head = request("POST", PREDICT, b"", "expect: 100-continue", f"content-length: {len(GOOD)}")
    async with raw(hub) as connection:
        await connection.send(head)
        assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await connection.send(GOOD)
        assert (await connection.read()).status == 200


@pytest.mark.parametrize("cut", [0, 20, 200, 10_000])
async def test_an_offer_of_http_2_is_ignored_and_the_body_is_not(hub: Hub, cut: int) -> None:
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")
    async with raw(hub) as connection:
        plain = await connection.ask("POST", PREDICT, GOOD)
        data = request("POST", PREDICT, GOOD, *offer) * 3
        for part in (data[:cut], data[cut:]):
            await connection.send(part)
            await asyncio.sleep(0.01)
        assert [(await connection.read()).body for _ in range(3)] == [plain.body] * 3
        assert (
            await connection.ask("GET", "/healthz", None, "connection: upgrade", "upgrade: websocket")
        ).status == 200
