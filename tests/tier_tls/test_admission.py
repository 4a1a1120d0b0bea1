"""Mutual TLS between the tiers: who gets in at a pod, and which pods a gateway calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.oip import messages
from tests.authority import EXTENSIONS, Authority, client
from tests.hub import eventually, running_gateway, running_pod
from tests.inference.pod_processes import features, infer_of
from tests.tier_tls.secure_tiers import (
    GATEWAY,
    INFERENCE,
    SERVICES,
    Secrets,
    refusals,
    secure_channel,
    secure_pod,
)


@asynccontextmanager
async def health(port: int) -> AsyncIterator[Any]:
    """The health service at a plain port."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, health_pb2_grpc.HealthStub(channel)


async def test_the_plain_port_has_health_and_nothing_else(models: Path, secrets: Secrets) -> None:
    async with secure_pod(models, secrets) as pod:
        assert pod.plain_health is not None
        async with health(pod.plain_health.port) as (channel, stub):
            reply = await stub.Check(health_pb2.HealthCheckRequest(service="probe/ready"))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
            for method in (
                f"{messages.SERVICE}/ModelInfer",
                f"{messages.SERVICE}/ServerReady",
                "inference.ModelInference/Predict",
            ):
                call: Any = channel.unary_unary(f"/{method}")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(b"")
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_another_name_gets_nothing_from_any_service_and_reads_why(
    models: Path, secrets: Secrets, authority: Authority
) -> None:
    async with secure_pod(models, secrets) as pod:
        async with secure_channel(pod, authority, authority.signed("neighbour")) as channel:
            said = "the certificate is for neighbour, localhost, 127.0.0.1, expected gateway"
            assert await refusals(channel) == dict.fromkeys(SERVICES, ("UNAUTHENTICATED", said))
        async with secure_channel(pod, authority, authority.signed(GATEWAY)) as channel:
            answer = await infer_of(channel)(features("quick", 1.0, id="7"))
            assert answer.id == "7"


async def test_an_address_of_mail_is_no_name(models: Path, secrets: Secrets, authority: Authority) -> None:
    shows = authority.signed("mail", EXTENSIONS.replace("DNS:{name}", "email:gateway"))
    async with secure_pod(models, secrets) as pod, secure_channel(pod, authority, shows) as channel:
        assert {code for code, _ in (await refusals(channel)).values()} == {"UNAUTHENTICATED"}


@pytest.mark.parametrize("who", ["nobody", "a stranger", "plain"])
async def test_without_a_certificate_of_the_authority_there_is_no_connection(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path, who: str
) -> None:
    stranger = Authority(tmp_path, "stranger").signed(GATEWAY)
    async with secure_pod(models, secrets) as pod:
        channel = (
            grpc.aio.insecure_channel(f"127.0.0.1:{pod.port}")
            if who == "plain"
            else secure_channel(pod, authority, stranger if who == "a stranger" else None)
        )
        async with channel:
            found = await refusals(channel)
            assert {code for code, _ in found.values()} == {"UNAVAILABLE"}


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (GATEWAY, ""),
        ("neighbour", "the certificate is for neighbour, localhost, 127.0.0.1, expected gateway"),
        ("nobody", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ("stranger", "unable to get local issuer certificate"),
        ("plain", "WRONG_VERSION_NUMBER"),
        ("old", "UNSUPPORTED_PROTOCOL"),
    ],
)
async def test_the_port_of_the_streams_admits_only_gateways_and_logs_why(
    models: Path,
    secrets: Secrets,
    authority: Authority,
    tmp_path: Path,
    who: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signer = Authority(tmp_path, "other") if who == "stranger" else authority
    shows = None if who == "nobody" else signer.signed(GATEWAY if who == "stranger" else who)
    tls: ssl.SSLContext | None = client(authority.certificate.read_text(), shows)
    if who == "old":
        tls = client(authority.certificate.read_text(), authority.signed(GATEWAY))
        tls.maximum_version = ssl.TLSVersion.TLSv1_2

    def logged() -> list[str]:
        return [vars(one)["reason"] for one in caplog.records if one.getMessage() == "a TLS handshake failed"]

    async with secure_pod(models, secrets) as pod:
        options: dict[str, Any] = {} if who == "plain" else {"ssl": tls, "server_hostname": "localhost"}
        opened = 0
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", pod.servicer.streams.port, **options)
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            async with asyncio.timeout(30):
                opened = len(await reader.read(100))
            writer.transport.abort()
        except (ssl.SSLError, ConnectionError):
            pass
        assert bool(opened) is not bool(reason)
        if reason:
            await eventually(logged)
            assert reason in logged()[0]
        assert not pod.servicer.streams._shaking


@pytest.mark.parametrize("what", ["another name", "another authority", "plain"])
async def test_a_gateway_calls_no_pod_that_it_does_not_trust(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path, what: str
) -> None:
    """It neither falls back to plain, nor believes an address."""
    stranger = Authority(tmp_path, "stranger")
    if what == "another name":
        secrets.inference.hold(*authority.signed("database"), authority)
    elif what == "another authority":
        secrets.inference.hold(*stranger.signed(INFERENCE), authority)
    async with AsyncExitStack() as stack:
        pod = await stack.enter_async_context(
            running_pod(models) if what == "plain" else secure_pod(models, secrets)
        )
        address = (f"127.0.0.1:{pod.port}",)
        gateway = await stack.enter_async_context(running_gateway(address, **secrets.gateway.tier_settings))
        await eventually(lambda: gateway.fleet.pods[address[0]].described)
        assert not gateway.fleet.ready
        if what != "plain":
            secrets.inference.hold(*authority.signed(INFERENCE), authority)
            await eventually(lambda: gateway.fleet.ready)
