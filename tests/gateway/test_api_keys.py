"""API keys: who gets in over HTTP, what the others read, and what the access log says of callers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.oip import messages
from tests.gateway.grpc_api.calling import calling
from tests.gateway.keyed_hub import ASKED, BAD, CALLS, KEYS, bearer, hub_with_keys, key_file, sentence
from tests.gateway.raw import Raw, request
from tests.hub import eventually, mock_model, running_hub
from tests.inference.pod_processes import features
from tests.load import drawn


@pytest.mark.parametrize("what", BAD)
async def test_every_call_and_question_over_http_is_refused(tmp_path: Path, what: str) -> None:
    headers, status, said = BAD[what]
    async with hub_with_keys(tmp_path) as hub:
        for path, body in CALLS.items():
            found, answer, more = await hub.post(path, body, headers=headers)
            assert (found, sentence(answer)[: len(said)]) == (status, said), path
            assert ("www-authenticate" in more) is (status == 401)
            assert "x-request-id" in more
        if status == 401:
            for path in ASKED:
                found, answer, _ = await hub.get(path, headers=headers)
                assert (found, sentence(answer)[: len(said)]) == (status, said), path
            assert (await hub.post("/v2/repository/index", {}, headers=headers))[0] == 401
        for path in (
            "/",
            "/docs",
            "/openapi.json",
            "/healthz",
            "/readyz",
            "/v2/health/live",
            "/v2/health/ready",
        ):
            async with hub.client.get(hub.url + path, headers=headers) as open_to_all:
                assert open_to_all.status == 200, path


@pytest.mark.parametrize(
    "headers", [bearer("all"), {"x-api-key": KEYS["all"]}, {"authorization": f"bearer {KEYS['all']}"}]
)
async def test_a_good_key_gets_the_right_value(tmp_path: Path, headers: dict[str, str]) -> None:
    async with hub_with_keys(tmp_path) as hub:
        status, found, _ = await hub.post("/predict", CALLS["/predict"], headers=headers)
        assert (status, found["class_id"], found["confidence"]) == (200, *drawn(1.0, 2.0))
        for path in ASKED[:-1]:
            assert (await hub.get(path, headers=headers))[0] == 200, path


async def test_a_refused_body_is_not_read(tmp_path: Path) -> None:
    """The answer comes before the first byte of the body."""
    async with hub_with_keys(tmp_path) as hub:
        async with Raw(hub.gateway.port) as raw:
            await raw.send(request("POST", "/predict", b"x" * 1_000_000)[:-1_000_000])
            assert (await raw.read()).status == 401
        assert hub.gateway.bytes_held.held == 0


async def test_access_lines_have_the_id_of_a_key_and_its_tenant_and_never_the_key(tmp_path: Path) -> None:
    mock_model(tmp_path / "models")
    async with calling(tmp_path / "models", api_keys=str(key_file(tmp_path))) as caller:
        async with aiohttp.ClientSession() as session:
            for headers in (bearer("all"), {}):
                url = f"http://127.0.0.1:{caller.gateway.port}/predict"
                async with session.post(url, json=CALLS["/predict"], headers=headers) as answer:
                    assert answer.status == (200 if headers else 401)
        infer: Any = caller.channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        message = features("quick", 1.0, 2.0).SerializeToString()
        await infer(message, metadata=tuple(bearer("few").items()))
        await eventually(lambda: caller.gateway.metrics.in_flight == 0)
        lines = caller.written()
    assert [(line["caller"], line["tenant"], line["status"]) for line in lines] == [
        ("all", "search", 200),
        ("", "", 401),
        ("few", "", 200),
    ]
    assert not any(key in json.dumps(lines) for key in KEYS.values())


async def test_without_keys_nobody_is_asked(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path) as hub:
        assert (await hub.post("/predict", {"features": [1.0]}))[0] == 200


async def test_openai_s_client_sends_its_key(tmp_path: Path) -> None:
    from openai import AsyncOpenAI, AuthenticationError

    async with hub_with_keys(tmp_path) as hub:
        async with AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=KEYS["few"]) as good:
            assert [model.id for model in (await good.models.list()).data] == ["quick"]
        async with AsyncOpenAI(base_url=f"{hub.url}/v1", api_key="sk-none") as bad:
            with pytest.raises(AuthenticationError, match="the key is unknown"):
                await bad.models.list()
            with pytest.raises(AuthenticationError, match="the key is unknown"):
                await bad.embeddings.create(model="quick", input="a")
