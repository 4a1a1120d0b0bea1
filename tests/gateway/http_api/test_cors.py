"""Calls from pages of other origins: which may call, and what their browsers are told."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.raw import Raw
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREDICT = "/predict"
GOOD = b'{"features":[1,2,3]}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    async with running_hub(models, default_model="quick") as hub:
        yield hub


def pod(hub: Hub) -> str:
    """The address of its only pod."""
    return f"127.0.0.1:{hub.pods[0].port}"


PREFLIGHT = ("origin: https://app.example", "access-control-request-method: POST",
             "access-control-request-headers: content-type, x-request-timeout-ms")  # fmt: skip


async def test_no_cors_unless_it_is_set(hub: Hub) -> None:
    async with Raw(hub.gateway.port) as connection:
        preflight = await connection.ask("OPTIONS", PREDICT, None, *PREFLIGHT)
        simple = await connection.ask("POST", PREDICT, GOOD, PREFLIGHT[0])
    assert (preflight.status, simple.status) == (405, 200)
    assert not [
        name for answer in (preflight, simple) for name in answer.headers if name.startswith("access-control")
    ]


async def test_cors_for_the_origins_that_are_set(hub: Hub) -> None:
    async with running_gateway(
        (pod(hub),), default_model="quick", cors_origins=("https://app.example",)
    ) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        async with Raw(gateway.port) as connection:
            preflight = await connection.ask("OPTIONS", PREDICT, None, *PREFLIGHT)
            assert preflight.status == 200
            assert preflight.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-request-timeout-ms" in preflight.headers["access-control-allow-headers"].lower()
            names = "authorization, content-type, x-stainless-lang, x-stainless-retry-count"
            for wanted, status in ((names, 200), (f"{names}, x-other", 400), ('x-stainless-"', 400)):
                asked = f"access-control-request-headers: {wanted}"
                openai = await connection.ask("OPTIONS", "/v1/chat/completions", None, *PREFLIGHT[:2], asked)
                assert openai.status == status
                allowed = openai.headers.get("access-control-allow-headers", "").split(", ")
                assert status == 400 or set(names.split(", ")) <= set(allowed)
            for body, status in ((GOOD, 200), (b"no", 400)):
                answer = await connection.ask("POST", PREDICT, body, PREFLIGHT[0])
                assert answer.status == status
                assert answer.headers["access-control-allow-origin"] == "https://app.example"
                assert "server-timing" in answer.headers["access-control-expose-headers"]
            lost = await connection.ask("GET", "/nothing", None, PREFLIGHT[0])
            assert (lost.status, lost.headers["access-control-allow-origin"]) == (404, "https://app.example")
            stranger = await connection.ask("POST", PREDICT, GOOD, "origin: https://other.example")
            assert (stranger.status, stranger.headers.get("access-control-allow-origin")) == (200, None)


@pytest.mark.parametrize("origins", ["https://app.example", "*"])
async def test_a_page_may_use_the_client_of_openai(hub: Hub, origins: str) -> None:
    """It sends a key and headers about itself, which the answer must name: * does not stand for `authorization`."""
    own = [
        "authorization", "content-type", "openai-organization", "openai-project", "user-agent", "x-stainless-lang",
        "x-stainless-retry-count", "x-stainless-runtime-version", "x-stainless-of-tomorrow",
    ]  # fmt: skip

    async def asked(*names: str, origin: str = "https://app.example") -> Any:
        fields = (f"origin: {origin}", PREFLIGHT[1], f"access-control-request-headers: {', '.join(names)}")
        return await connection.ask("OPTIONS", "/v1/chat/completions", None, *fields)

    async with (
        running_gateway((pod(hub),), cors_origins=(origins,)) as gateway,
        Raw(gateway.port) as connection,
    ):
        answer = await asked(*own)
        assert answer.status == 200
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert set(own) <= set(allowed)
        assert "*" not in allowed
        assert (await asked("X-Stainless-Lang", "AUTHORIZATION")).status == 200
        for name in ("x-other", "x-stainless-", "x-stainless-a b", "cookie"):
            assert (await asked("authorization", name)).status == 400, name
        stranger = await asked(*own, origin="https://other.example")
        assert stranger.status == (200 if origins == "*" else 400)


async def test_cors_for_all(hub: Hub) -> None:
    async with running_gateway((pod(hub),), cors_origins=("*",)) as gateway, Raw(gateway.port) as connection:
        answer = await connection.ask("GET", "/healthz", None, PREFLIGHT[0])
    assert answer.headers["access-control-allow-origin"] == "*"
