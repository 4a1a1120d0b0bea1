"""Pods and gateways that speak TLS with each other, their certificates, and callers with others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.oip import messages
from inferencehub.inference.server import InferenceServer
from tests.authority import Authority, Secret
from tests.hub import Hub, running_hub, running_pod

GATEWAY, INFERENCE = "gateway", "inference"


class Secrets:
    """A Secret for each tier, at first with certificates of one authority."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.gateway, self.inference = Secret(directory / "front"), Secret(directory / "back")
        self.hold(authority, authority)

    def hold(self, signer: Authority, *trusted: Authority) -> None:
        """Put other certificates there; both tiers trust the same authorities."""
        self.inference.hold(*signer.signed(INFERENCE), *trusted)
        self.gateway.hold(*signer.signed(GATEWAY), *trusted)


@asynccontextmanager
async def secure_pod(models: Path, secrets: Secrets, **settings: Any) -> AsyncIterator[InferenceServer]:
    """A pod that speaks TLS."""
    async with running_pod(models, health_port=0, **secrets.inference.tier_settings, **settings) as pod:
        yield pod


@asynccontextmanager
async def secure_hub(models: Path, secrets: Secrets, pods: int = 1) -> AsyncIterator[Hub]:
    """Both tiers, with TLS between them."""
    pod = {"health_port": 0, **secrets.inference.tier_settings}
    async with running_hub(models, pods, pod, **secrets.gateway.tier_settings) as hub:
        yield hub


def streams_of(pod: InferenceServer) -> set[Any]:
    """The gateways' streams that are open at a pod."""
    return {stream for stream in pod.servicer.streams._open if stream._begun}


def secure_channel(pod: InferenceServer, trusted: Authority, shows: tuple[Path, Path] | None) -> Any:
    """A channel of gRPC to the pod."""
    chain, key = (file.read_bytes() for file in shows) if shows else (None, None)
    credentials = grpc.ssl_channel_credentials(trusted.certificate.read_bytes(), key, chain)
    own = (("grpc.use_local_subchannel_pool", 1),)
    return grpc.aio.secure_channel(f"localhost:{pod.port}", credentials, own)


SERVICES = {
    f"{messages.SERVICE}/ModelInfer": "unary_unary",
    f"{messages.SERVICE}/ServerLive": "unary_unary",
    "inference.ModelInference/Predict": "unary_unary",
    f"{messages.SERVICE}/ModelStreamInfer": "stream_stream",
    "grpc.health.v1.Health/Check": "unary_unary",
    "grpc.health.v1.Health/Watch": "unary_stream",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "stream_stream",
}  # fmt: skip


async def refusals(channel: Any) -> dict[str, tuple[str, str]]:
    """Status and sentence of a call of each method, all of which must fail."""
    found = {}
    for method, kind in SERVICES.items():
        call: Any = getattr(channel, kind)(f"/{method}")
        sent = [b""] if kind == "stream_stream" else b""
        answered = call(sent, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (answered if kind == "unary_unary" else anext(aiter(answered)))
        found[method] = caught.value.code().name, caught.value.details() or ""
    return found
