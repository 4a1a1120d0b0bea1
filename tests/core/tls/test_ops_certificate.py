"""TLS at the ops port: probes for everybody, all else for who shows a certificate, and processes that ask each other."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from starlette.responses import Response

from inferencehub.core.files.watched import BadFile
from inferencehub.core.http1.asgi import AsgiHandler
from inferencehub.core.process.ops_port import OpsServer
from inferencehub.core.process.scrape.written import Registry
from inferencehub.core.process.settings import SettingError, read_settings
from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings
from inferencehub.scaler.demand.gateways import Gateways, PolledGateway, Release, caller
from inferencehub.scaler.kube import Kube
from inferencehub.scaler.settings import ScalerSettings
from tests.authority import Authority, Secret, client
from tests.hub import eventually, mock_model, running_gateway, running_pod
from tests.ports import free_port

UNKNOWN = "no-such-name.invalid:50051"
PAGES = ("/healthz", "/readyz", "/metrics", "/demand", "/other", "/live")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def secret(tmp_path: Path, authority: Authority) -> Secret:
    """What all processes of a release have."""
    secret = Secret(tmp_path / "secret")
    secret.hold(*authority.signed("ops"), authority)
    return secret


@asynccontextmanager
async def ops(secret: Secret) -> AsyncIterator[OpsServer]:
    """An ops port that speaks TLS."""
    certificate = OpsCertificate(*secret.ops_settings.values())
    pages = {"/demand": lambda asked: (200, "text/plain", b"some")}
    live = {"/live": AsgiHandler(Response(b"live"), 0)}
    server = OpsServer(0, Registry(), lambda: "", pages, certificate=certificate, others=live)
    await server.start()
    yield server
    await server.stop(0)


async def statuses(port: int, tls: ssl.SSLContext) -> list[int]:
    """Of all pages, on one connection."""
    async with aiohttp.ClientSession(f"https://localhost:{port}") as session:
        found = []
        for page in PAGES:
            async with session.get(page, ssl=tls) as answer:
                found.append(answer.status)
        return found


def as_a_kubelet() -> ssl.SSLContext:
    """Kubelets check no certificate of a probed port, and show none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def reloaded(server: OpsServer) -> int:
    """How often new files of its certificate were used."""
    return 0 if server.certificate is None else server.certificate.reloads


async def test_probes_are_for_everybody_and_all_else_for_who_shows_a_certificate(
    tmp_path: Path, secret: Secret, authority: Authority
) -> None:
    (tmp_path / "other").mkdir()
    trusted = authority.certificate.read_text()
    async with ops(secret) as server:
        assert await statuses(server.port, as_a_kubelet()) == [200, 200, 403, 403, 403, 403]
        assert await statuses(server.port, client(trusted)) == [200, 200, 403, 403, 403, 403]
        scraper = client(trusted, authority.signed("prometheus"))
        assert await statuses(server.port, scraper) == [200, 200, 200, 200, 404, 200]
        stranger = Authority(tmp_path / "other", "authority").signed("prometheus")
        with pytest.raises(aiohttp.ClientError):
            await statuses(server.port, client(trusted, stranger))
        reader, writer = await asyncio.open_connection("localhost", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n")
        assert b"HTTP/1.1 200" not in await reader.read(), "nothing is told in plain"
        writer.close()


async def test_a_new_certificate_is_used_without_a_restart_and_a_withdrawn_authority_ends_connections(
    tmp_path: Path, secret: Secret, authority: Authority
) -> None:
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new", "new")
    before = client(authority.certificate.read_text(), authority.signed("prometheus"))
    after = client(new.certificate.read_text(), new.signed("prometheus"))
    async with (
        ops(secret) as server,
        aiohttp.ClientSession(f"https://localhost:{server.port}") as session,
    ):
        async with session.get("/metrics", ssl=before) as answer:
            assert answer.status == 200
            await answer.read()  # else the session closes the connection
        secret.hold(*new.signed("ops"), new)
        await eventually(lambda: not server.connections, 8)  # that of the session, which keeps it for 15 s
        assert (await statuses(server.port, after))[2] == 200
        with pytest.raises(aiohttp.ClientError):
            async with session.get("/metrics", ssl=before):
                pass


def test_a_certificate_that_cannot_be_used_is_named(secret: Secret) -> None:
    (secret.directory / "..1" / "ca.crt").write_text("no authority")
    with pytest.raises(BadFile, match="HUB_OPS_TLS_CA"):
        OpsCertificate(*secret.ops_settings.values())


@pytest.mark.parametrize("cls", [GatewaySettings, InferenceSettings, ScalerSettings])
def test_its_files_belong_together(cls: type) -> None:
    with pytest.raises(
        SettingError, match="HUB_OPS_TLS_CERT, HUB_OPS_TLS_KEY and HUB_OPS_TLS_CA belong together"
    ):
        read_settings(cls, {"HUB_OPS_TLS_CERT": "a", "HUB_OPS_TLS_KEY": "b"})


async def test_a_gateway_finds_pods_through_tls_and_their_files_change(
    tmp_path: Path, secret: Secret
) -> None:
    """The gateway knows the ops port alone; each answer came through TLS, from who has a certificate."""
    mock_model(tmp_path / "models")
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new", "new")
    later = free_port()
    async with running_pod(tmp_path / "models", **secret.ops_settings) as pod:
        targets = tuple(f"127.0.0.1:{port}" for port in (pod.ops.port, later))
        async with running_gateway((UNKNOWN,), roll_call=targets, **secret.ops_settings) as gateway:
            await eventually(lambda: gateway.fleet.ready)
            secret.hold(*new.signed("ops"), new)
            reader = client(new.certificate.read_text(), new.signed("prometheus"))
            url = f"https://localhost:{gateway.ops.port}/metrics"
            await eventually(lambda: reloaded(pod.ops) and reloaded(gateway.ops))
            async with aiohttp.ClientSession() as session, session.get(url, ssl=reader) as answer:
                assert 'reloads_total{setting="HUB_OPS_TLS"} 1.0' in await answer.text()
            async with running_pod(tmp_path / "models", **secret.ops_settings, ops_port=later):
                await eventually(lambda: len(gateway.fleet.pods) == 2)


async def test_a_gateway_without_a_certificate_learns_nothing_from_a_pod(
    tmp_path: Path, secret: Secret, authority: Authority
) -> None:
    mock_model(tmp_path / "models")
    other = Secret(tmp_path / "other")
    (tmp_path / "stranger").mkdir()
    stranger = Authority(tmp_path / "stranger", "authority")
    other.hold(*stranger.signed("ops"), authority)
    async with running_pod(tmp_path / "models", **secret.ops_settings) as pod:
        target = (f"127.0.0.1:{pod.ops.port}",)
        for shown in ({}, other.ops_settings):
            async with running_gateway((UNKNOWN,), roll_call=target, **shown) as gateway:
                await asyncio.sleep(1)
                assert not gateway.fleet.pods


async def test_the_scaler_asks_as_each_gateway_speaks(
    secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = OpsCertificate(*secret.ops_settings.values())
    async with (
        running_gateway(("127.0.0.1:1",), **secret.ops_settings) as secure,
        running_gateway(("127.0.0.1:1",)) as plain,
    ):
        known = {
            Release("prod", name): [PolledGateway(f"127.0.0.1:{one.ops.port}", True, name == "secure")]
            for name, one in {"secure": secure, "plain": plain}.items()
        }
        with_one = Gateways(Kube("", Path()), "", certificate=certificate)
        without = Gateways(Kube("", Path()), "")
        for gateways, silent in ((with_one, set()), (without, {f"127.0.0.1:{secure.ops.port}"})):
            with caplog.at_level(logging.WARNING):
                async with caller() as session:
                    await gateways.round(session, known)
            assert gateways.silent == silent
        assert "HUB_OPS_TLS_CERT names no certificate" in caplog.records[-1].__dict__["reason"]
