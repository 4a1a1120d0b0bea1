"""A pod that direct callers may call with keys, and calls of each of its methods."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from inferencehub.core.oip import messages
from inferencehub.inference.server import InferenceServer
from tests.authority import Authority
from tests.gateway.keyed_hub import ENTRIES, KEYS, entry
from tests.gateway.test_keys_over_grpc import METHODS
from tests.hub import mock_model
from tests.tier_tls.secure_tiers import Secrets, secure_channel, secure_pod

CALLER = "caller"  # the name in the certificate of a direct caller
HEALTH, REFLECTION = "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"
Method = tuple[str, Any, Any, Any]


def write_keys(file: Path, *entries: dict[str, Any]) -> None:
    """The file of keys: those of `keyed_hub`, or others."""
    file.write_text(json.dumps({"keys": entries or [*ENTRIES, entry("later", models=["hidden"])]}))


@asynccontextmanager
async def pod_with_keys(directory: Path, secrets: Secrets, **settings: Any) -> AsyncIterator[InferenceServer]:
    """A pod with two models, which takes direct callers with the keys in keys.json."""
    write_keys(directory / "keys.json")
    for name in ("quick", "hidden"):
        mock_model(directory / "models", name)
    direct = {"direct_calls": True, "api_keys": str(directory / "keys.json"), **settings}
    async with secure_pod(directory / "models", secrets, **direct) as pod:
        yield pod


@asynccontextmanager
async def shown(pod: InferenceServer, authority: Authority, name: str = CALLER) -> AsyncIterator[Any]:
    """A channel that shows a certificate with this name."""
    async with secure_channel(pod, authority, authority.signed(name)) as channel:
        yield channel


def of(channel: Any, method: str) -> tuple[Any, Any]:
    """A unary method of the protocol or of Predict, and a message for it."""
    message, asked, answered = METHODS[method]
    name = method if "/" in method else f"{messages.SERVICE}/{method}"
    return channel.unary_unary(f"/{name}", asked.SerializeToString, answered.FromString), message


def health(channel: Any) -> Any:
    return channel.unary_unary(
        f"/{HEALTH}/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )


def reflection(channel: Any) -> Any:
    return channel.stream_stream(
        f"/{REFLECTION}/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )


def key(name: str) -> tuple[tuple[str, str], ...]:
    """The metadata with a key."""
    return (("authorization", f"Bearer {KEYS[name]}"),)
