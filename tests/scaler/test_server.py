"""A scaler from start to stop against a Kubernetes API: its certificate, its callers, what it removes at the end."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.http1.server import listen
from inferencehub.scaler.activator import QUIET_SECONDS
from inferencehub.scaler.metrics_api import certificate
from inferencehub.scaler.metrics_api.callers import CONFIG_MAP
from inferencehub.scaler.metrics_api.certificate import Certificate, from_secret
from inferencehub.scaler.metrics_api.registration import APISERVICE, Pace
from inferencehub.scaler.server import Scaler
from inferencehub.scaler.settings import ScalerSettings
from tests.authority import Authority, client
from tests.hub import eventually
from tests.scaler.kubernetes import Kubernetes, Object, kubernetes

BASE = "/apis/external.metrics.k8s.io/v1beta1"
SECRET = "/api/v1/namespaces/prod/secrets/certificate"
NAMESPACE = "/api/v1/namespaces/prod"
CALLERS = f"/api/v1/namespaces/kube-system/configmaps/{CONFIG_MAP}"
NAMES = ("localhost", "localhost.prod", "localhost.prod.svc")


def names_as_caller(server: Kubernetes, authority: Authority) -> None:
    """The cluster says that its API server shows a certificate of this authority."""
    data = {
        "requestheader-client-ca-file": authority.certificate.read_text(),
        "requestheader-allowed-names": '["front-proxy-client"]',
    }
    server.write(CALLERS, {"data": data})


def belongs_to(server: Kubernetes, namespace: str) -> None:
    """The API is served by the Service `localhost` of a namespace."""
    spec = {"service": {"namespace": namespace, "name": "localhost", "port": 443}}
    server.write(APISERVICE, {"spec": spec})


def bundle(server: Kubernetes) -> str:
    """Whom the cluster trusts to be the API."""
    return b64decode(server.objects[APISERVICE]["spec"].get("caBundle", "")).decode()


def put(server: Kubernetes, made: Certificate) -> None:
    """Write a certificate into the Secret, as a person would."""
    parts = {"tls.crt": made.chain, "tls.key": made.key, "ca.crt": made.authority}
    server.write(SECRET, {"data": {name: b64encode(text.encode()).decode() for name, text in parts.items()}})


def kept(server: Kubernetes) -> Certificate:
    """What the Secret holds."""
    found = from_secret(server.objects[SECRET])
    assert found is not None
    return found


@pytest.fixture
def caller(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "cluster")


async def at_once() -> None:
    """Whom to trust is known everywhere as soon as it is written."""


@asynccontextmanager
async def cluster(directory: Path, caller: Authority) -> AsyncIterator[Kubernetes]:
    async with kubernetes(directory) as (server, _):
        server.write(NAMESPACE)
        server.write(SECRET)
        names_as_caller(server, caller)
        belongs_to(server, "prod")
        yield server


@asynccontextmanager
async def running(
    server: Kubernetes,
    wait: bool = True,
    settle: Callable[[], Awaitable[None]] = at_once,
    **settings: Any,
) -> AsyncIterator[Scaler]:
    """A scaler; `wait` until its metrics API listens."""
    chosen = {
        "port": 0,
        "ops_port": 0,
        "release": "hub",
        "namespace": "prod",
        "service": "localhost",
        "certificate_secret": "certificate",
        "kubernetes_url": server.url,
        "credentials": str(server.credentials),
        "drain_wait_s": 0.0,
        **settings,
    }
    scaler = Scaler(ScalerSettings(**chosen), Pace(0.2, 0.2, settle))
    await scaler.start()
    try:
        if wait:
            await eventually(lambda: scaler.port)
        yield scaler
    finally:
        await scaler.stop()


async def ask(scaler: Scaler, trusted: str, shows: tuple[Path, Path] | None) -> tuple[int, Object]:
    connector = aiohttp.TCPConnector(ssl=client(trusted, shows))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://localhost:{scaler.port}{BASE}") as answer,
    ):
        return answer.status, await answer.json()


async def test_it_makes_its_certificate_is_trusted_and_serves(tmp_path: Path, caller: Authority) -> None:
    async with cluster(tmp_path, caller) as server, running(server) as scaler:
        assert kept(server).fits(NAMES, datetime.now(UTC))
        assert bundle(server) == kept(server).authority
        status, listed = await ask(scaler, bundle(server), caller.signed("front-proxy-client"))
        assert (status, listed["kind"]) == (200, "APIResourceList")
        assert (await ask(scaler, bundle(server), None))[0] == 401
        await eventually(lambda: not scaler.not_ready())


async def looked_again(server: Kubernetes) -> None:
    """Wait until the scaler has looked at its Secret twice more, whatever it did before has ended by then."""
    looks = server.count(f"GET {SECRET}")
    await eventually(lambda: server.count(f"GET {SECRET}") >= looks + 2)


async def test_replicas_that_start_together_share_one_certificate(tmp_path: Path, caller: Authority) -> None:
    shows = caller.signed("front-proxy-client")
    async with (
        cluster(tmp_path, caller) as server,
        running(server, wait=False) as one,
        running(server) as other,
    ):
        await eventually(lambda: one.port)
        written = sum(call.startswith(f"PUT {SECRET}") for call in server.calls)
        assert written <= 2
        assert bundle(server) == kept(server).authority
        assert bundle(server).count("BEGIN CERTIFICATE") == 1
        for scaler in (one, other):
            assert scaler.registration.certificate == kept(server)
            assert (await ask(scaler, bundle(server), shows))[0] == 200


async def test_a_certificate_is_renewed_beside_the_one_before(tmp_path: Path, caller: Authority) -> None:
    shows = caller.signed("front-proxy-client")
    async with cluster(tmp_path, caller) as server, running(server) as scaler:
        soon = certificate.make(NAMES, kept(server), timedelta(days=30))
        put(server, soon)
        await eventually(lambda: bundle(server).startswith(kept(server).chain + soon.chain))
        await eventually(lambda: scaler.registration.certificate == kept(server))
        assert (await ask(scaler, bundle(server), shows))[0] == 200


async def test_no_call_is_lost_while_certificates_change(tmp_path: Path, caller: Authority) -> None:
    shows = caller.signed("front-proxy-client")
    statuses: list[int] = []
    trusted = ["" for _ in range(4)]  # what each caller trusts in the call that it makes now
    ended = asyncio.Event()

    async def settled() -> None:
        """All callers have heard of what is in the APIService."""
        now = bundle(server)
        await eventually(lambda: all(one == now for one in trusted), 30)

    async def call(number: int) -> None:
        while not ended.is_set():
            trusted[number] = bundle(server)
            statuses.append((await ask(scaler, trusted[number], shows))[0])

    async with cluster(tmp_path, caller) as server, running(server, settle=settled) as scaler:
        callers = [asyncio.create_task(call(number)) for number in range(4)]
        for _ in range(10):
            before = scaler.registration.certificate
            put(server, await asyncio.to_thread(certificate.make, NAMES, before))
            await eventually(lambda before=before: scaler.registration.certificate != before, 60)
        ended.set()
        await asyncio.gather(*callers)
        assert len(statuses) >= 40
        assert set(statuses) == {200}
        assert (await ask(scaler, kept(server).chain, shows))[0] == 200


@pytest.mark.parametrize("broken", ["authority", "chain"])
async def test_a_secret_that_somebody_broke_is_mended(tmp_path: Path, caller: Authority, broken: str) -> None:
    async with cluster(tmp_path, caller) as server, running(server) as scaler:
        made = kept(server)
        parts = {"chain": made.chain, "key": made.key, "authority": made.authority}
        put(server, Certificate(**{**parts, broken: ""}))
        await eventually(lambda: scaler.registration.certificate != made)
        assert scaler.registration.certificate == kept(server)
        assert kept(server).chain in bundle(server)


async def test_it_follows_who_the_api_server_is(tmp_path: Path, caller: Authority) -> None:
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new", "cluster")
    async with cluster(tmp_path, caller) as server, running(server) as scaler:
        names_as_caller(server, new)
        authority = new.certificate.read_text()
        await eventually(lambda: scaler.callers.authority == authority)
        shows = new.signed("front-proxy-client")
        for _ in range(10):
            assert (await ask(scaler, bundle(server), shows))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await ask(scaler, bundle(server), caller.signed("front-proxy-client"))


async def test_what_nobody_trusts_yet_is_not_served(tmp_path: Path, caller: Authority) -> None:
    shows = caller.signed("front-proxy-client")
    async with cluster(tmp_path, caller) as server, running(server) as scaler:
        first, trusted = scaler.registration.certificate, bundle(server)
        server.delete(APISERVICE)
        put(server, certificate.make(NAMES, first))
        await looked_again(server)
        await looked_again(server)
        assert (await ask(scaler, trusted, shows))[0] == 200
        assert scaler.registration.certificate == first
        belongs_to(server, "prod")
        await eventually(lambda: scaler.registration.certificate == kept(server))
        assert (await ask(scaler, kept(server).chain, shows))[0] == 200


async def test_who_names_no_server_gets_the_newest_certificate_too(tmp_path: Path, caller: Authority) -> None:
    async with cluster(tmp_path, caller) as server, running(server) as scaler:
        first = scaler.registration.certificate
        put(server, certificate.make(NAMES, first))
        await eventually(lambda: scaler.registration.certificate == kept(server))
        trusting = client(kept(server).chain)
        trusting.check_hostname = False
        _, writer = await asyncio.open_connection("127.0.0.1", scaler.port, ssl=trusting)
        writer.close()


async def test_the_api_goes_when_the_namespace_goes(tmp_path: Path, caller: Authority) -> None:
    async with cluster(tmp_path, caller) as server, running(server):
        server.write(NAMESPACE, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
        await eventually(lambda: APISERVICE not in server.objects)
        await looked_again(server)
        assert APISERVICE not in server.objects


async def test_a_pool_that_never_sleeps_is_woken_before_any_gateway_is_known(
    tmp_path: Path, caller: Authority
) -> None:
    path = "/apis/apps/v1/namespaces/prod/deployments/{}"
    async with cluster(tmp_path, caller) as server:
        for name, annotations in (("awake", {}), ("sleeps", {QUIET_SECONDS: "60"})):
            server.write(
                path.format(name), {"metadata": {"annotations": annotations}, "spec": {"replicas": 0}}
            )
        activate = ("sleeps=sleeps", "awake=awake")
        async with running(server, wait=False, metrics_api=False, activate=activate):
            await eventually(lambda: server.objects[path.format("awake")]["spec"]["replicas"] == 1)
        assert server.objects[path.format("sleeps")]["spec"]["replicas"] == 0


async def test_what_belongs_to_somebody_else_is_left_alone(tmp_path: Path, caller: Authority) -> None:
    async with cluster(tmp_path, caller) as server:
        belongs_to(server, "keda")
        async with running(server):
            server.write(NAMESPACE, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
            seen = server.count(f"GET {APISERVICE}")
            await eventually(lambda: server.count(f"GET {APISERVICE}") > seen)
            await looked_again(server)
        assert bundle(server) == ""


@pytest.mark.parametrize("ending", [False, True])
async def test_who_takes_the_api_over_meanwhile_keeps_it(
    tmp_path: Path, caller: Authority, ending: bool
) -> None:
    """Between reading whose it is and writing to it, somebody else became its owner."""
    async with cluster(tmp_path, caller) as server, running(server):
        taken = asyncio.Event()

        def take_over(path: str) -> None:
            if path == APISERVICE:
                server.between = lambda path: None
                belongs_to(server, "keda")
                taken.set()

        server.between = take_over
        if ending:
            server.write(NAMESPACE, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
        else:
            put(server, certificate.make(NAMES, None))
        await taken.wait()
        seen = server.count(f"GET {APISERVICE}")
        await eventually(lambda: server.count(f"GET {APISERVICE}") > seen)
        await looked_again(server)
        assert server.objects[APISERVICE]["spec"]["service"]["namespace"] == "keda"
        assert bundle(server) == ""


async def test_a_port_that_is_taken_for_a_moment_is_listened_at_later(
    tmp_path: Path, caller: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    waits = "the metrics API waits"
    async with cluster(tmp_path, caller) as server:
        with listen(0) as taken:
            async with running(server, wait=False, port=taken.getsockname()[1]) as scaler:
                await eventually(lambda: scaler.not_ready().startswith(waits))
                await eventually(lambda: "the metrics API can't listen" in caplog.text)
                taken.close()
                await eventually(lambda: not scaler.not_ready().startswith(waits))
                _, writer = await asyncio.open_connection("127.0.0.1", scaler.port)
                writer.close()
