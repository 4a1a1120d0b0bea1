"""The values for production on the cluster: who gets in at a pod, and what a change of all certificates costs."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import grpc
import pytest
from cluster import CHART, QUICK, Release, mock_models, release, run, secret, tls_secret
from grpc_health.v1 import health_pb2, health_pb2_grpc
from open_loop import open_loop

from inferencehub.core.auth.key_file import digest, new_key
from tests.authority import Authority

NAMESPACE = "hub-production"
NAMES = {tier: f"hub-inferencehub-{tier}.{NAMESPACE}.svc" for tier in ("gateway", "inference")}
CALLERS = "callers"
KEY = new_key("test")
ENTRY = {"id": "test", "sha256": digest(KEY.encode()).hex()}
INFER, PREDICT = "/inference.GRPCInferenceService/ModelInfer", "/inference.ModelInference/Predict"


def secrets(signer: Authority, *trusted: Authority) -> dict[str, dict[str, Any]]:
    """The Secret of each tier, and that for callers."""
    files = [one.certificate for one in trusted]
    made = {
        tier: tls_secret(f"inferencehub-{tier}-tls", *signer.signed(name), *files)
        for tier, name in NAMES.items()
    }
    return {**made, CALLERS: tls_secret("inferencehub-callers-tls", *signer.signed("hub.example"))}


@pytest.fixture(scope="module")
def hub(authority: Authority) -> Iterator[Release]:
    values = {
        "models": mock_models(quick=QUICK),
        "example": {
            "body": '{"features":[1],"model_name":"quick"}',
            "classId": None,
            "keySecret": "inferencehub-test-key",
        },
        "gateway": {"replicas": 2, "service": {"type": "NodePort"}, "autoscaling": {"enabled": False}},
        "inference": {"replicas": 2, "autoscaling": {"source": "none"}},
        "monitoring": {"podMonitor": {"enabled": False}},  # no Prometheus operator here
        "extraObjects": [
            *secrets(authority, authority).values(),
            secret("inferencehub-keys", keys_json=json.dumps({"keys": [ENTRY]})),
            secret("inferencehub-test-key", key=KEY),
        ],
    }
    with release(values, NAMESPACE, CHART / "values-production.yaml") as hub:
        yield hub


@asynccontextmanager
async def channel(
    hub: Release, port: int, trusted: Authority | None, shows: tuple[Path, Path] | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a port of a pod, in plain if nobody is trusted."""
    with hub.forwarded(f"pod/{hub.ready('inference')[0].name}", port) as address:
        if trusted is None:
            made = grpc.aio.insecure_channel(address)
        else:
            chain, key = (file.read_bytes() for file in shows) if shows else (None, None)
            credentials = grpc.ssl_channel_credentials(trusted.certificate.read_bytes(), key, chain)
            name = (("grpc.ssl_target_name_override", NAMES["inference"]),)
            made = grpc.aio.secure_channel(address, credentials, name)
        async with made:
            yield made


async def refusal(made: grpc.aio.Channel, method: str) -> tuple[grpc.StatusCode, str]:
    """How a call fails."""
    call: Any = made.unary_unary(method)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=20)
    return caught.value.code(), caught.value.details() or ""


async def test_probes_are_green_by_a_port_that_has_health_and_nothing_else(hub: Release) -> None:
    assert len(hub.ready("inference")) == 2
    async with channel(hub, 50053, None) as made:
        stub: Any = health_pb2_grpc.HealthStub(made)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service="probe/ready"), timeout=20)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        for method in (INFER, PREDICT):
            assert (await refusal(made, method))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_without_the_certificate_of_a_gateway_no_model_runs(
    hub: Release, authority: Authority, tmp_path: Path
) -> None:
    neighbour, stranger = authority.signed("neighbour"), Authority(tmp_path, "stranger")
    for port in (50051, 50052):
        for trusted, shows in (
            (None, None),
            (authority, None),
            (authority, stranger.signed(NAMES["gateway"])),
        ):
            async with channel(hub, port, trusted, shows) as made:
                for method in (INFER, PREDICT):
                    assert (await refusal(made, method))[0] is grpc.StatusCode.UNAVAILABLE
    async with channel(hub, 50051, authority, neighbour) as made:
        for method in (INFER, PREDICT):
            code, said = await refusal(made, method)
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert said.startswith("the certificate is for neighbour")
    run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")


def trusting(*authorities: Authority) -> ssl.SSLContext:
    """A caller who trusts these; nodes have addresses that no certificate knows."""
    context = ssl.create_default_context(cafile=str(authorities[0].certificate))
    for one in authorities[1:]:
        context.load_verify_locations(cafile=str(one.certificate))
    context.check_hostname = False
    return context


async def test_new_certificates_of_both_tiers_cost_no_request_and_a_withdrawn_one_is_out(
    hub: Release, authority: Authority, tmp_path: Path, figure: Any
) -> None:
    """100 requests a second, half of them on new connections. A new authority is trusted, signs, and is then the only one."""
    new = Authority(tmp_path, "new")
    steps = [(authority, (authority, new)), (new, (authority, new)), (new, (new,))]
    url, tls = hub.url().replace("http://", "https://"), trusting(authority, new)
    async with (
        open_loop(url, "quick", 30.0, fresh=True, tls=tls, key=KEY) as fresh,
        open_loop(url, "quick", 30.0, tls=tls, key=KEY) as kept,
    ):
        fresh.rate = kept.rate = 50.0
        await asyncio.sleep(3)
        for count, (signer, trusted) in enumerate(steps, start=1):
            made = secrets(signer, *trusted)
            await asyncio.to_thread(hub.put_secrets, "inference", made["inference"])
            await asyncio.to_thread(hub.put_secrets, "gateway", made["gateway"], made[CALLERS])
            await asyncio.to_thread(hub.reloaded, count, gateway="HUB_TIER_TLS", inference="HUB_TIER_TLS")
            await asyncio.to_thread(hub.reloaded, count, gateway="HUB_TLS")
            await asyncio.sleep(3)
    sent, failed = fresh.sent + kept.sent, fresh.failed + kept.failed
    figure(f"{sent} requests, {len(failed)} failed while all certificates changed three times")
    assert not failed
    assert sent > 1000
    assert all(pod.restarts == 0 for tier in NAMES for pod in hub.pods(tier))

    await asyncio.to_thread(hub.put_secrets, "inference", secrets(authority, authority)["inference"])
    await asyncio.to_thread(hub.reloaded, len(steps) + 1, inference="HUB_TIER_TLS")
    began = monotonic()
    async with aiohttp.ClientSession() as client, asyncio.timeout(60):
        body = {"features": [1.0], "model_name": "quick"}
        status = 200
        while status == 200:
            await asyncio.sleep(0.2)
            headers = {"authorization": f"Bearer {KEY}"}
            async with client.post(f"{url}/predict", json=body, headers=headers, ssl=tls) as answer:
                status = answer.status
    took = monotonic() - began
    figure(f"gateways that no pod trusts any more were out {took:.1f} s after the last pod had the file")
    assert status == 503
    assert took < 20
