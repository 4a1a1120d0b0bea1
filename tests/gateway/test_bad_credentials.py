"""Ten thousand calls with bad credentials of every kind on every front: each is refused, and nothing else happens."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.oip import messages
from inferencehub.pb import inference_pb2 as small
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.raw import Raw, request
from tests.hub import Hub, mock_model, running_hub
from tests.inference.pod_processes import features
from tests.issuer import AUDIENCE, NAME, Issuer

CALLS, TOGETHER = 10_000, 32
CLAIMS = '{"models": "models", "actions": {"infer": {"scope": "predict"}, "describe": {"scope": "predict"}}}'
RIGHTS: dict[str, dict[str, Any]] = {
    "good": {},
    "few": {"models": ["hidden"]},
    "asks": {"actions": ["control"]},
    "old": {"not_after": "2020-01-31T00:00:00Z"},
}
KEYS = {name: new_key(name) for name in RIGHTS}
PREDICT = json.dumps({"features": [1.0, 2.0], "model_name": "quick"}).encode()
INFER = json.dumps(
    {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}
).encode()
CHAT = json.dumps({"model": "quick", "messages": [{"role": "user", "content": "a"}]}).encode()
HTTP: list[tuple[str, str, bytes | None]] = [
    ("POST", "/predict", PREDICT),
    ("POST", "/v2/models/quick/infer", INFER),
    ("POST", "/v2/models/quick/generate", b'{"features": [1.0, 2.0]}'),
    ("POST", "/v2/models/quick/generate_stream", b'{"features": [1.0, 2.0]}'),
    ("POST", "/v1/models/quick:predict", b'{"instances": [[1.0, 2.0]]}'),
    ("POST", "/v1/chat/completions", CHAT),
    ("GET", "/v2/models/quick", None),
]
GRPC = [
    (f"/{messages.SERVICE}/ModelInfer", features("quick", 1.0, 2.0)),
    ("/inference.ModelInference/Predict", small.PredictRequest(features=[1.0, 2.0], model_name="quick")),
    (f"/{messages.SERVICE}/ModelMetadata", pb.ModelMetadataRequest(name="quick")),
]


def bad_credentials(issuer: Issuer) -> list[str]:
    """Values of `Authorization`, "" for none."""
    may: dict[str, Any] = {"models": ["quick"], "scope": "predict"}
    tokens = [
        issuer.token(**{**may, "exp": 1}),
        issuer.token(**may, aud="shop"),
        issuer.token(**may, iss="https://eve.example"),
        issuer.token(**may)[:-6] + "AAAAAA",
        issuer.token(head={"kid": "other"}, **may),
        Issuer().token(**may),
        issuer.token(**{**may, "models": ["hidden"]}),
        issuer.token(**{**may, "scope": "read"}),
        "eyJhbGciOiJub25lIn0.e30.",
        "..",
        "a.b.c",
        "x" * 7000,
    ]
    keys = [
        *(KEYS[name] for name in ("few", "asks", "old")),
        KEYS["good"][:-1],
        new_key("stranger"),
        "hub_",
        "%00",
    ]
    kinds = ["Basic dXNlcjpwYXNz", KEYS["good"], "Bearer", "Bearer ", ""]
    return [*(f"Bearer {one}" for one in [*tokens, *keys]), *kinds]


@asynccontextmanager
async def guarded_hub(tmp_path: Path, issuer: Issuer) -> AsyncIterator[Hub]:
    """A gateway that asks for keys or tokens."""
    mock_model(tmp_path / "models", "quick")
    entries = [
        {"id": name, "sha256": sha256(key.encode()).hexdigest(), **RIGHTS[name]} for name, key in KEYS.items()
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    (tmp_path / "jwks.json").write_bytes(issuer.key_set())
    jwt: dict[str, Any] = {
        "jwt_keys": str(tmp_path / "jwks.json"),
        "jwt_issuer": NAME,
        "jwt_audience": (AUDIENCE,),
    }
    async with running_hub(
        tmp_path / "models", api_keys=str(tmp_path / "keys.json"), **jwt, jwt_claims=CLAIMS
    ) as hub:
        yield hub


async def over_http(hub: Hub, credentials: list[str], calls: int) -> Counter[str]:
    """How often which status came, of so many calls."""
    statuses: Counter[str] = Counter()

    async def connection(numbers: range) -> None:
        async with Raw(hub.gateway.port) as raw:
            for number in numbers:
                method, path, body = HTTP[number % len(HTTP)]
                value = credentials[number % len(credentials)]
                lines = [f"authorization: {value}"] if value else []
                await raw.send(request(method, path, body, *lines))
                statuses[str((await raw.read()).status)] += 1

    await asyncio.gather(*[connection(range(first, calls, TOGETHER)) for first in range(TOGETHER)])
    return statuses


async def over_grpc(hub: Hub, credentials: list[str], calls: int) -> Counter[str]:
    """How often which status came, of so many calls."""
    statuses: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        methods: list[Any] = [channel.unary_unary(path) for path, _ in GRPC]
        open_stream: Any = channel.stream_stream(f"/{messages.SERVICE}/ModelStreamInfer")

        async def caller(numbers: range) -> None:
            for number in numbers:
                value = credentials[number % len(credentials)]
                metadata = (("authorization", value),) if value else ()
                which = number % (len(GRPC) + 1)
                try:
                    if which == len(GRPC):
                        stream = open_stream(metadata=metadata)
                        await stream.write(GRPC[0][1].SerializeToString())
                        answer = pb.ModelStreamInferResponse.FromString(await stream.read())
                        await stream.done_writing()
                        assert "may not use model 'quick'" in answer.error_message
                        statuses["PERMISSION_DENIED"] += 1
                    else:
                        await methods[which](GRPC[which][1].SerializeToString(), metadata=metadata)
                        statuses["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    statuses[error.code().name] += 1

        await asyncio.gather(*[caller(range(first, calls, TOGETHER)) for first in range(TOGETHER)])
    return statuses


@pytest.mark.parametrize("calls", [500, pytest.param(CALLS, marks=pytest.mark.long)], ids=["part", "all"])
async def test_each_is_refused_and_nothing_runs(tmp_path: Path, calls: int) -> None:
    issuer = await asyncio.to_thread(Issuer)
    credentials = await asyncio.to_thread(bad_credentials, issuer)
    async with guarded_hub(tmp_path, issuer) as hub:
        good = {"authorization": f"Bearer {KEYS['good']}"}
        assert (await hub.post("/predict", json.loads(PREDICT), headers=good))[0] == 200
        statuses = await over_http(hub, credentials, calls)
        assert set(statuses) == {"401", "403"}
        assert statuses.total() == calls
        statuses = await over_grpc(hub, credentials, calls)
        assert set(statuses) == {"UNAUTHENTICATED", "PERMISSION_DENIED"}
        assert statuses.total() == calls
        assert (await hub.post("/predict", json.loads(PREDICT), headers=good))[0] == 200
        registry = hub.gateway.metrics.registry
        count = registry.get_sample_value("inferencehub_gateway_queue_seconds_count", {"model": "quick"})
        assert count == 2, "nothing of the others entered the lane"
        assert hub.gateway.bytes_held.held == 0
