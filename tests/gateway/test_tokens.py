"""JWTs at the gateway, with an issuer's real server: who gets in on all fronts, also beside API keys."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.oip import messages
from inferencehub.core.process.settings import SettingError
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_hub
from tests.inference.pod_processes import features
from tests.issuer import AUDIENCE, NAME, Issuer, serving
from tests.load import drawn

CLAIMS = """{"tenant": "org", "models": "models",
             "actions": {"infer": {"scope": "predict"}, "describe": {"scope": "predict"}}}"""
MAY: dict[str, Any] = {"org": "search", "models": ["quick"], "scope": "predict"}
CALL = {"features": [1.0, 2.0], "model_name": "quick"}
MORE: list[dict[str, Any]] = [{}, {"exp": 1}]
NO_TOKEN = "there is no token: send a JWT as 'Authorization: Bearer …'"
RULES: dict[str, Any] = {"jwt_issuer": NAME, "jwt_audience": (AUDIENCE,), "jwt_claims": CLAIMS}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@asynccontextmanager
async def hub_with_tokens(tmp_path: Path, issuer: Issuer, **settings: Any) -> AsyncIterator[Hub]:
    """Two models, and a gateway that asks for JWTs whose keys it has fetched."""
    for name in ("quick", "hidden"):
        mock_model(tmp_path / "models", name)
    (tmp_path / "keys.json").write_bytes(issuer.key_set())
    async with serving(tmp_path) as address:
        more = {**RULES, "jwt_keys": f"{address}/keys.json", "hold_s": 0.0, **settings}
        async with running_hub(tmp_path / "models", **more) as hub:
            tokens = hub.gateway.callers.tokens
            await eventually(lambda: tokens is not None and tokens.source.keys is not None)
            yield hub


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_over_http(tmp_path: Path, issuer: Issuer) -> None:
    async with hub_with_tokens(tmp_path, issuer) as hub:
        good = {"headers": bearer(issuer.token(**MAY))}
        status, found, _ = await hub.post("/predict", CALL, **good)
        assert (status, found["class_id"], found["confidence"]) == (200, *drawn(1.0, 2.0))
        _, listed, _ = await hub.get("/v2/models", **good)
        assert [model["name"] for model in listed["models"]] == ["quick"]
        status, found, _ = await hub.post("/predict", {**CALL, "model_name": "hidden"}, **good)
        assert (status, found["error"]) == (403, "the token of 'ada' may not use model 'hidden'")
        asks = {"headers": bearer(issuer.token(**{**MAY, "scope": "read"}))}
        status, found, _ = await hub.post("/predict", CALL, **asks)
        assert (status, found["error"]) == (403, "the token of 'ada' may not infer, it may nothing")
        for headers, said in (
            ({}, NO_TOKEN),
            ({"x-api-key": "hub_a_b"}, "the token cannot be read, expected a signed JWT"),
            (bearer(issuer.token(aud="shop")), "the token is refused: it is not for 'hub'"),
        ):
            status, found, more = await hub.post("/predict", CALL, headers=headers)
            assert (status, found["error"], more["www-authenticate"]) == (401, said, "Bearer")


async def test_a_refused_body_is_not_read(tmp_path: Path, issuer: Issuer) -> None:
    async with hub_with_tokens(tmp_path, issuer) as hub, Raw(hub.gateway.port) as raw:
        head = f"authorization: Bearer {issuer.token(exp=1)}"
        await raw.send(request("POST", "/predict", b"x" * 1_000_000, head)[:-1_000_000])
        assert (await raw.read()).status == 401


async def failure(call: Any) -> tuple[str, str]:
    """Status and sentence of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""


async def test_over_grpc(tmp_path: Path, issuer: Issuer) -> None:
    async with (
        hub_with_tokens(tmp_path, issuer) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        infer: Any = channel.unary_unary(
            f"/{messages.SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        open_stream: Any = channel.stream_stream(
            f"/{messages.SERVICE}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        good, bad = (tuple(bearer(issuer.token(**MAY, **more)).items()) for more in MORE)
        assert (await infer(features("quick", 1.0, 2.0, id="7"), metadata=good)).id == "7"
        assert await failure(infer(features("quick", 1.0, 2.0), metadata=bad)) == (
            "UNAUTHENTICATED",
            "the token has expired",
        )
        assert await failure(infer(features("quick", 1.0, 2.0))) == ("UNAUTHENTICATED", NO_TOKEN)
        assert (await failure(open_stream(metadata=bad).read()))[0] == "UNAUTHENTICATED"
        stream = open_stream(metadata=good)
        for model, said in (("quick", ""), ("hidden", "the token of 'ada' may not use model 'hidden'")):
            await stream.write(features(model, 1.0, 2.0, id="8"))
            assert said in (await stream.read()).error_message
        await stream.done_writing()


async def test_beside_keys(tmp_path: Path, issuer: Issuer) -> None:
    key = new_key("ci")
    file = tmp_path / "api-keys.json"
    file.write_text(json.dumps({"keys": [{"id": "ci", "sha256": sha256(key.encode()).hexdigest()}]}))
    async with hub_with_tokens(tmp_path, issuer, api_keys=str(file)) as hub:
        for headers in (bearer(key), {"x-api-key": key}, bearer(issuer.token(**MAY))):
            assert (await hub.post("/predict", CALL, headers=headers))[0] == 200
        for headers, said in (
            (
                {},
                "there is no key or token: send a key as 'Authorization: Bearer hub_…' or 'X-Api-Key: hub_…', or a JWT "
                "as 'Authorization: Bearer …'",
            ),
            (bearer("hub_a_b"), "the key is unknown"),
            (bearer("a.b.c"), "the token cannot be read, expected a signed JWT"),
        ):
            status, found, _ = await hub.post("/predict", CALL, headers=headers)
            assert (status, found["error"]) == (401, said)


async def test_without_keys_of_the_issuer_nobody_gets_in(tmp_path: Path, issuer: Issuer) -> None:
    """It is no fault of the caller, and goes by."""
    mock_model(tmp_path / "models", "quick")
    settings = {**RULES, "jwt_keys": "http://localhost:9/keys.json"}
    async with running_hub(tmp_path / "models", **settings) as hub:
        status, found, more = await hub.post("/predict", CALL, headers=bearer(issuer.token(**MAY)))
        assert (status, found["error"]) == (
            503,
            "the keys that verify tokens could not be fetched yet",
        )
        assert "retry-after" in more


@pytest.mark.long
async def test_a_file_of_keys_that_changes(tmp_path: Path, issuer: Issuer) -> None:
    file = tmp_path / "mounted.json"
    file.write_bytes(issuer.key_set("RS256"))
    async with hub_with_tokens(
        tmp_path, issuer, jwt_keys=str(file), jwt_algorithms=("RS256", "ES256")
    ) as hub:
        old, new = (bearer(issuer.token(name, **MAY)) for name in ("RS256", "ES256"))
        assert (await hub.post("/predict", CALL, headers=old))[0] == 200
        assert (await hub.post("/predict", CALL, headers=new))[0] == 401
        file.write_bytes(issuer.key_set("ES256"))
        tokens = hub.gateway.callers.tokens
        await eventually(lambda: tokens is not None and tokens.source.reloads == 1)
        assert (await hub.post("/predict", CALL, headers=old))[0] == 401
        assert (await hub.post("/predict", CALL, headers=new))[0] == 200


GOOD: dict[str, Any] = {"jwt_keys": "/keys.json", "jwt_issuer": NAME, "jwt_audience": (AUDIENCE,)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jwt_issuer": ""}, "HUB_JWT_KEYS, HUB_JWT_ISSUER and HUB_JWT_AUDIENCE belong together"),
        ({"jwt_audience": ()}, "HUB_JWT_KEYS, HUB_JWT_ISSUER and HUB_JWT_AUDIENCE belong together"),
        ({"jwt_keys": ""}, "HUB_JWT_ISSUER is there without HUB_JWT_KEYS"),
        ({"jwt_algorithms": ("HS256",)}, "HUB_JWT_ALGORITHMS has 'HS256', expected one of RS256, "),
        ({"jwt_algorithms": ("none",)}, "HUB_JWT_ALGORITHMS has 'none', expected one of RS256, "),
        ({"jwt_algorithms": ()}, "HUB_JWT_ALGORITHMS is empty"),
        ({"jwt_keys": "http://issuer.example/keys"}, "HUB_JWT_KEYS is 'http://issuer.example/keys', expected a file"),
        ({"jwt_keys": "ftp://issuer.example/keys"}, "HUB_JWT_KEYS is 'ftp://issuer.example/keys', expected a file"),
        ({"jwt_keys": "file:///etc/passwd"}, "HUB_JWT_KEYS is 'file:///etc/passwd', expected a file"),
        ({"jwt_keys": "https://user:secret@issuer.example/keys"}, "without a user and a password$"),
        ({"jwt_keys": "https:///keys"}, "must be a file or https://host"),
        ({"jwt_ca": "/ca.crt"}, "HUB_JWT_CA is there, but HUB_JWT_KEYS is a file"),
        ({"jwt_claims": "{"}, "HUB_JWT_CLAIMS cannot be used: "),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        GatewaySettings(**{**GOOD, **change})
