"""Requests that come slowly or not at all: callers get 408 and a sentence, and connections are closed in time."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
import pytest_asyncio

from inferencehub.gateway.server import Gateway
from tests.gateway.http_api.bad_input import BOTH, refused
from tests.gateway.raw import Raw, request
from tests.hub import eventually, mock_model, running_gateway, running_pod

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD_S, BODY_S = 0.4, 0.3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that waits shortly for heads and bodies."""
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    async with (
        running_pod(models) as pod,
        running_gateway(
            (f"127.0.0.1:{pod.port}",),
            default_model="quick",
            header_timeout_s=HEAD_S,
            body_timeout_s=BODY_S,
        ) as gateway,
    ):
        await eventually(lambda: gateway.fleet.ready)
        yield gateway


async def test_a_silent_connection_is_closed(hasty: Gateway) -> None:
    async with Raw(hasty.port) as raw:
        began = monotonic()
        assert await raw.closed() == b""
        assert HEAD_S - 0.1 < monotonic() - began < HEAD_S + 10.0


@pytest.mark.parametrize("again", [False, True])
async def test_a_head_that_drips(hasty: Gateway, again: bool) -> None:
    async with Raw(hasty.port) as raw:
        if again:
            assert (await raw.ask("GET", "/healthz")).status == 200
        began = monotonic()
        answered = asyncio.ensure_future(raw.read())
        for letter in b"POST /predict HTTP/1.1\r\nx: " + b"x" * 1000:
            if answered.done():
                break
            raw.writer.write(bytes([letter]))
            await asyncio.sleep(0.02)
        refused("", await answered, 408, f"expected the whole head of a request within {HEAD_S} s")
        assert HEAD_S - 0.1 < monotonic() - began < HEAD_S + 10.0, (
            "the time is for the whole, which takes 20 s"
        )


@BOTH
async def test_a_body_that_drips(hasty: Gateway, path: str) -> None:
    async with Raw(hasty.port) as raw:
        began = monotonic()
        answered = asyncio.ensure_future(raw.read())
        await raw.send(request("POST", path, b"", "content-length: 1000"))
        while not answered.done():
            raw.writer.write(b"x")
            await asyncio.sleep(0.02)
        answer = await answered
        refused(path, answer, 408, f"expected the whole body within {BODY_S} s", "bytes until then")
        assert answer.headers["connection"] == "close"
        assert BODY_S - 0.1 < monotonic() - began < BODY_S + 10.0, (
            "the time is for the whole, which takes 20 s"
        )
        await raw.closed()


@BOTH
async def test_a_body_that_never_begins(hasty: Gateway, path: str) -> None:
    async with Raw(hasty.port) as raw:
        await raw.send(request("POST", path, b"", "content-length: 5"))
        refused(path, await raw.read(), 408, f"expected the whole body within {BODY_S} s", "got 0 bytes")
        await raw.closed()


async def test_a_body_that_nobody_waits_for_does_not_hold_its_connection(hasty: Gateway) -> None:
    async with Raw(hasty.port) as raw:
        assert (await raw.ask("GET", "/healthz")).status == 200
        assert (await raw.ask("GET", "/healthz", b"", "content-length: 5")).status == 200
        await raw.closed(BODY_S + 15.0)
