"""A hub that asks for API keys, keys of several kinds, and what is refused."""

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
from tests.hub import Hub, mock_model, running_hub

SERVICE = messages.SERVICE
KEYS = {name: new_key(name) for name in ("all", "few", "two", "asks", "admin", "old", "later")}
NO_KEY = "there is no key: send a key as 'Authorization: Bearer hub_…' or 'X-Api-Key: hub_…'"


def entry(name: str, **fields: Any) -> dict[str, Any]:
    """A key in the file."""
    return {"id": name, "sha256": sha256(KEYS[name].encode()).hexdigest(), **fields}


ENTRIES = [
    entry("all", tenant="search"),
    entry("few", models=["quick", "other-?"]),
    entry("asks", actions=["describe"]),
    entry("admin", actions=["describe", "control"]),
    entry("old", not_after="2020-01-31T00:00:00Z"),
]


def key_file(directory: Path) -> Path:
    """Write the file of keys, which is keys.json."""
    made = directory / "keys.json"
    made.write_text(json.dumps({"keys": ENTRIES}))
    return made


@asynccontextmanager
async def hub_with_keys(directory: Path, **settings: Any) -> AsyncIterator[Hub]:
    """Two models, and a gateway that asks for the keys in keys.json."""
    file = key_file(directory)
    for name in ("quick", "hidden"):
        mock_model(directory / "models", name)
    async with running_hub(directory / "models", api_keys=str(file), hold_s=0.0, **settings) as hub:
        yield hub


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


INFER = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
CALLS = {
    "/predict": {"features": [1.0, 2.0], "model_name": "quick"},
    "/v2/models/quick/infer": INFER,
    "/v2/models/quick/versions/1/infer": INFER,
    "/v2/models/quick/generate": {"features": [1.0, 2.0]},
    "/v2/models/quick/generate_stream": {"features": [1.0, 2.0]},
    "/v1/models/quick:predict": {"instances": [[1.0, 2.0]]},
    "/v1/chat/completions": {"model": "quick", "messages": [{"role": "user", "content": "a"}]},
    "/v1/completions": {"model": "quick", "prompt": "a"},
    "/v1/embeddings": {"model": "quick", "input": "a"},
}
ASKED = (
    "/v2", "/v2/models", "/v2/models/quick", "/v2/models/quick/config", "/v2/models/quick/ready", "/v2/models/quick/stats",
    "/v2/models/stats", "/v2/logging", "/v2/trace/setting", "/v1/models", "/v1/models/quick", "/nothing",
)  # fmt: skip
BAD: dict[str, tuple[dict[str, str], int, str]] = {
    "none": ({}, 401, NO_KEY),
    "the key alone": ({"authorization": KEYS["all"]}, 401, "the credentials are not of kind 'Bearer': send"),
    "empty": ({"authorization": "Bearer "}, 401, NO_KEY),
    "another kind": (
        {"authorization": "Basic dXNlcjpwYXNz"},
        401,
        "the credentials are not of kind 'Bearer': send",
    ),
    "unknown": ({"x-api-key": "hub_all_nonsense"}, 401, "the key is unknown"),
    "huge": ({"x-api-key": "hub_all_" + "x" * 7000}, 401, "the key is unknown"),
    "expired": (bearer("old"), 401, "key 'old' has expired at 2020-01-31T00:00:00+00:00"),
    "the wrong action": (bearer("asks"), 403, "key 'asks' may not infer, it may describe"),
}


def sentence(body: Any) -> str:
    """The sentence of an error, in either shape."""
    error = body["error"]
    return str(error if isinstance(error, str) else error["message"])


@asynccontextmanager
async def over_grpc(hub: Hub, method: str, asked: Any, answered: Any) -> AsyncIterator[Any]:
    """A unary method of the gateway."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        name = method if "/" in method else f"{SERVICE}/{method}"
        yield channel.unary_unary(
            f"/{name}", request_serializer=asked.SerializeToString, response_deserializer=answered.FromString
        )


async def failure(call: Any) -> tuple[str, str]:
    """Status and sentence of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""
