"""TLS for callers, over HTTP and gRPC: nothing in plain, and a new certificate without a restart or a lost call."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.settings import SettingError
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.pb import inference_pb2 as pb
from tests.authority import Authority, Secret, openssl
from tests.gateway.raw import Raw, request
from tests.hub import Process, eventually, mock_model, running_gateway, running_pod
from tests.load import drawn

PREDICT = "/inference.ModelInference/Predict"
FEATURES = [1.0, 2.0]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom the callers trust."""
    return Authority(tmp_path, "first")


@pytest.fixture
def secret(tmp_path: Path, authority: Authority) -> Secret:
    """A certificate of the authority."""
    made = Secret(tmp_path / "secret")
    made.hold(*authority.signed("gateway"))
    return made


@asynccontextmanager
async def secure_gateway(tmp_path: Path, secret: Secret, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway with this certificate, and a pod behind it."""
    mock_model(tmp_path / "models")
    async with (
        running_pod(tmp_path / "models") as pod,
        running_gateway(
            (f"127.0.0.1:{pod.port}",), default_model="quick", **secret.settings, **settings
        ) as gateway,
    ):
        await eventually(lambda: gateway.fleet.ready)
        yield gateway


async def over_http(gateway: Gateway, trusted: Path) -> tuple[int, float]:
    """What /predict answers on a new connection."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"https://localhost:{gateway.port}/predict",
            json={"features": FEATURES},
            ssl=await asyncio.to_thread(client, trusted),
        ) as answer,
    ):
        found = await answer.json()
        return found["class_id"], found["confidence"]


async def over_grpc(gateway: Gateway, trusted: Path) -> tuple[int, float]:
    """What Predict answers on a new connection."""
    credentials = grpc.ssl_channel_credentials(await asyncio.to_thread(trusted.read_bytes))
    own = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(f"localhost:{gateway.grpc.port}", credentials, own) as channel:
        ask: Any = channel.unary_unary(
            PREDICT,
            request_serializer=pb.PredictRequest.SerializeToString,
            response_deserializer=pb.PredictResponse.FromString,
        )
        found = await ask(pb.PredictRequest(features=FEATURES), timeout=20)
        return found.class_id, round(found.confidence, 6)  # FP32 on the wire


def client(trusted: Path) -> ssl.SSLContext:
    """A client that trusts the authorities in a file."""
    return ssl.create_default_context(cafile=str(trusted))


FRONTS = pytest.mark.parametrize("ask", [over_http, over_grpc], ids=["http", "grpc"])
Ask = Callable[[Gateway, Path], Awaitable[tuple[int, float]]]


@FRONTS
async def test_who_trusts_the_authority_is_answered_and_who_does_not_asks_nothing(
    tmp_path: Path, authority: Authority, secret: Secret, ask: Ask
) -> None:
    other = Authority(tmp_path, "other")
    async with secure_gateway(tmp_path, secret) as gateway:
        assert await ask(gateway, authority.certificate) == drawn(*FEATURES)
        with pytest.raises((aiohttp.ClientConnectorCertificateError, grpc.aio.AioRpcError)):
            await ask(gateway, other.certificate)


async def test_nothing_is_answered_in_plain_and_the_reason_is_logged(
    tmp_path: Path, secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    async with secure_gateway(tmp_path, secret) as gateway:
        async with Raw(gateway.port) as raw:
            await raw.send(request("POST", "/predict", b'{"features":[1]}'))
            assert b"HTTP" not in await raw.closed()
        (record,) = [one for one in caplog.records if one.getMessage() == "a TLS handshake failed"]
        assert vars(record)["reason"] == "HTTP_REQUEST"
        assert vars(record)["address"].endswith("127.0.0.1")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc.port}") as channel:
            predict: Any = channel.unary_unary(PREDICT)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await predict(b"", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def shaken(gateway: Gateway, context: ssl.SSLContext) -> tuple[str | None, str | None, bool]:
    """Version, protocol and whether there is a ticket to resume it, of a connection that asked for /healthz."""
    with (
        socket.create_connection(("localhost", gateway.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(request("GET", "/healthz"))
        assert connection.recv(12) == b"HTTP/1.1 200"
        session = connection.session
        return (
            connection.version(),
            connection.selected_alpn_protocol(),
            session is not None and session.has_ticket,
        )


async def test_old_versions_are_refused_and_no_session_outlives_its_certificate(
    tmp_path: Path, authority: Authority, secret: Secret
) -> None:
    async with secure_gateway(tmp_path, secret) as gateway:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = client(authority.certificate)
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            assert await asyncio.to_thread(shaken, gateway, context) == (name, "http/1.1", False)
        old = client(authority.certificate)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.deprecated_call():
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(shaken, gateway, old)


@FRONTS
async def test_a_new_certificate_is_shown_while_calls_go_on(
    tmp_path: Path, authority: Authority, secret: Secret, ask: Ask
) -> None:
    """Callers trust both authorities, as in a rotation; at the end only the new one."""
    new = Authority(tmp_path, "new")
    both = tmp_path / "both.crt"
    both.write_text(authority.certificate.read_text() + new.certificate.read_text())
    async with secure_gateway(tmp_path, secret) as gateway:
        answers: list[tuple[int, float]] = []
        over = asyncio.Event()

        async def go_on() -> None:
            while not over.is_set():
                answers.append(await ask(gateway, both))

        callers = [asyncio.create_task(go_on()) for _ in range(4)]
        await eventually(lambda: len(answers) > 5)
        secret.hold(*new.signed("gateway"))
        at = len(answers)
        await eventually_trusts(ask, gateway, new.certificate)
        assert len(answers) > at
        over.set()
        await asyncio.gather(*callers)
        assert set(answers) == {drawn(*FEATURES)}
        with pytest.raises((aiohttp.ClientConnectorCertificateError, grpc.aio.AioRpcError)):
            await ask(gateway, authority.certificate)


async def eventually_trusts(ask: Ask, gateway: Gateway, trusted: Path) -> None:
    """Ask until who trusts only this authority is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                await ask(gateway, trusted)
            except (aiohttp.ClientConnectorCertificateError, grpc.aio.AioRpcError):
                await asyncio.sleep(0.2)
            else:
                return


@pytest.mark.parametrize("what", ["another key", "half a file", "no file"])
@FRONTS
async def test_a_certificate_in_the_middle_of_a_change_breaks_nothing(
    tmp_path: Path,
    authority: Authority,
    secret: Secret,
    ask: Ask,
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    new = Authority(tmp_path, "new")
    chain, key = new.signed("later")
    text = "changed files are not used, the last good contents stay in use"

    def refused() -> list[str]:
        return [vars(one)["reason"] for one in caplog.records if one.getMessage() == text]

    async with secure_gateway(tmp_path, secret) as gateway:
        assert gateway.certificate is not None
        if what == "another key":
            secret.hold(chain, authority.signed("more")[1])
            said = "does not belong to the certificate in HUB_TLS_CERT"
        elif what == "half a file":
            half = tmp_path / "half.crt"
            half.write_bytes(chain.read_bytes()[:200])
            secret.hold(half, key)
            said = "expected a certificate and its key as PEM"
        else:
            (secret.directory / "..data").unlink()
            said = "cannot be read: No such file or directory"
        await eventually(refused)
        assert said in refused()[0]
        gateway.certificate.look()
        assert len(refused()) == 1, "said once"
        assert await ask(gateway, authority.certificate) == drawn(*FEATURES)
        secret.hold(chain, key)
        await eventually_trusts(ask, gateway, new.certificate)


async def test_who_never_ends_a_handshake_is_limited_as_all_others(tmp_path: Path, secret: Secret) -> None:
    async with secure_gateway(tmp_path, secret, header_timeout_s=0.5, max_connections=2) as gateway:
        async with Raw(gateway.port) as one, Raw(gateway.port) as two:
            await eventually(lambda: len(gateway.http.connections) == 2)
            async with Raw(gateway.port) as three:
                assert await three.closed() == b""
            assert await one.closed() == b""
            assert await two.closed() == b""
        await eventually(lambda: not gateway.http.connections)


async def test_a_connection_of_the_last_moment_is_answered(
    tmp_path: Path, authority: Authority, secret: Secret
) -> None:
    """The kernel has made it, or its handshake is under way, when the gateway stops to listen."""
    context = client(authority.certificate)
    async with secure_gateway(tmp_path, secret) as gateway:
        made = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(2)]
        stopping = asyncio.create_task(gateway.http.stop(5))
        made += [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(2)]
        for sock in made:
            await asyncio.sleep(0.3)
            assert not stopping.done(), "it waits for handshakes too"
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname="localhost"
            )
            writer.write(request("POST", "/predict", b'{"features":[1.0]}'))
            assert (await reader.readline()).split()[1] == b"200"
            writer.transport.abort()
        await stopping


@pytest.mark.long
async def test_every_handshake_ends_also_under_uvloop(authority: Authority, secret: Secret) -> None:
    """One after the other, and many at a time: no byte that comes early may be lost."""
    trusted, answered = client(authority.certificate), 0

    async def ask(port: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
        writer.write(request("GET", "/healthz", None, "connection: close"))
        assert (await reader.readline()).split()[1] == b"200"
        assert await reader.read()
        writer.close()
        answered += 1

    settings = {f"HUB_{name.upper()}": file for name, file in secret.settings.items()}
    async with Process("gateway", GRPC_SERVER_URL="127.0.0.1:9", **settings) as gateway, asyncio.timeout(60):
        for _ in range(200):
            await ask(gateway.port)
        for _ in range(5):
            await asyncio.gather(*[ask(gateway.port) for _ in range(40)])
    assert answered == 400


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("gateway.crt", "", "HUB_TLS_CERT and HUB_TLS_KEY belong together, expected both or none"),
        ("", "gateway.key", "HUB_TLS_CERT and HUB_TLS_KEY belong together, expected both or none"),
        ("none.crt", "gateway.key", "HUB_TLS_CERT names {}/none.crt, which cannot be read: No such file or directory"),
        ("gateway.crt", "none.key", "HUB_TLS_KEY names {}/none.key, which cannot be read: No such file or directory"),
        ("gateway.crt", "other.key", "does not belong to the certificate in HUB_TLS_CERT ({}/gateway.crt)"),
        ("gateway.crt", "locked.key", "HUB_TLS_KEY ({}/locked.key): the key has a password, expected one without"),
        ("gateway.key", "gateway.key", "expected a certificate and its key as PEM"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_ends_the_start_with_a_sentence(
    tmp_path: Path, authority: Authority, secret: Secret, cert: str, key: str, said: str
) -> None:
    authority.signed("other")
    openssl(
        "ec", "-aes128", "-passout", "pass:secret", "-in", str(tmp_path / "gateway.key"), "-out", str(tmp_path / "locked.key")
    )  # fmt: skip
    files = {
        name: str(tmp_path / file) if file else "" for name, file in (("tls_cert", cert), ("tls_key", key))
    }
    with pytest.raises((SettingError, BadFile)) as caught:
        Gateway(GatewaySettings(tls_cert=files["tls_cert"], tls_key=files["tls_key"]))
    assert said.format(tmp_path) in str(caught.value)
