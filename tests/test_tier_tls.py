"""Mutual TLS between the tiers: who gets in, who does not, and what a change of certificates costs."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import ref

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inferencehub.core.files.watched import BadFile
from inferencehub.core.oip import messages
from inferencehub.core.process.settings import SettingError
from inferencehub.core.tls.certificate import Certificate
from inferencehub.gateway.pods.stream import PodStream
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings import GatewaySettings
from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import open_inference_pb2 as pb
from tests.authority import EXTENSIONS, Authority, Secret, client
from tests.hub import Hub, Process, eventually, mock_model, running_gateway, running_hub, running_pod
from tests.inference.pod_processes import features, infer_of
from tests.load import Load, drawn
from tests.ports import free_port

GATEWAY, INFERENCE = "gateway", "inference"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """One quick model."""
    mock_model(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


class Secrets:
    """A Secret for each tier, at first with certificates of one authority."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.gateway, self.inference = Secret(directory / "front"), Secret(directory / "back")
        self.hold(authority, authority)

    def hold(self, signer: Authority, *trusted: Authority) -> None:
        """Put other certificates there; both tiers trust the same authorities."""
        self.inference.hold(*signer.signed(INFERENCE), *trusted)
        self.gateway.hold(*signer.signed(GATEWAY), *trusted)


@pytest.fixture
def secrets(tmp_path: Path, authority: Authority) -> Secrets:
    return Secrets(tmp_path, authority)


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


async def test_calls_go_over_the_streams_and_have_the_right_values(models: Path, secrets: Secrets) -> None:
    async with secure_hub(models, secrets) as hub:
        await eventually(lambda: len(streams_of(hub.pods[0])) == 2)
        for values in ([1.0], [0.5] * 3, [0.25] * 300_000):
            status, found, _ = await hub.post("/predict", {"features": values, "model_name": "quick"})
            assert (status, found["class_id"], found["confidence"]) == (200, *drawn(*values))


async def test_the_tiers_speak_tls_as_processes_too(models: Path, secrets: Secrets) -> None:
    """Their event loop is another one than that of the tests."""
    back, front = (
        {f"HUB_{name.upper()}": file for name, file in secret.tier_settings.items()}
        for secret in (secrets.inference, secrets.gateway)
    )
    more = {"HUB_MODELS": str(models), "HUB_HEALTH_PORT": str(free_port())}
    async with (
        Process("inference", **back, **more) as pod,
        Process("gateway", GRPC_SERVER_URL=pod.address, **front) as gateway,
        Load(gateway.url, workers=8) as load,
    ):
        await eventually(lambda: load.good > 300)
        assert not load.failed, load
        async with aiohttp.ClientSession() as session:
            for size in (1, 20_000, 2_000_000):
                body = {"features": [0.25] * size, "model_name": "quick"}
                async with session.post(f"{gateway.url}/predict", json=body) as answer:
                    found = await answer.json()
                    assert (found["class_id"], found["confidence"]) == drawn(*[0.25] * size)


async def test_a_stream_that_has_ended_leaves_nothing(models: Path, secrets: Secrets) -> None:
    """The collector is off: a cycle would stay for ever, once for each time that a stream is opened again."""

    async def opened(pod: InferenceServer, certificate: Certificate) -> list[ref[Any]]:
        stream = PodStream(f"127.0.0.1:{pod.servicer.streams.port}", 2**26, 5.0, certificate)
        await stream.open()
        running = asyncio.create_task(stream.run())
        message = features("quick", 1.0, id="7", hub_members='[[1, 60000000, "a"]]')
        assert (await stream.infer("7", (message.SerializeToString(),), None)).id == "7"
        running.cancel()
        await asyncio.wait([running])
        return [ref(stream), ref(stream._connection)]

    gateway = GatewaySettings(**secrets.gateway.tier_settings)
    certificate = gateway.tier_certificate(calls=INFERENCE)
    assert certificate is not None
    async with secure_pod(models, secrets) as pod:
        gc.disable()
        try:
            left = await opened(pod, certificate)
            await eventually(lambda: not any(one() for one in left))
            (stream,) = pod.servicer.streams._open or [None]
            left = [ref(stream)] if stream is not None else []
            del stream
            await eventually(lambda: not any(one() for one in left))
        finally:
            gc.enable()


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


async def test_new_certificates_cost_no_request(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path
) -> None:
    """First others of the same authority, then those of another one: it is trusted before it signs, the old one after."""
    new = Authority(tmp_path, "new")
    steps = [(authority, (authority,)), (authority, (authority, new)), (new, (authority, new)), (new, (new,))]
    async with secure_hub(models, secrets, pods=2) as hub:
        async with Load(hub.url, workers=8) as load:
            for signer, trusted in steps:
                before = dict(hub.gateway.fleet.pods)
                streams = set().union(*map(streams_of, hub.pods))
                good = load.good
                secrets.hold(signer, *trusted)
                await eventually(
                    lambda before=before: not set(before.values()) & set(hub.gateway.fleet.pods.values())
                )
                await eventually(lambda: sum(map(len, map(streams_of, hub.pods))) == 4)
                await eventually(lambda streams=streams: all(stream.over for stream in streams))
                await eventually(lambda good=good: load.good > good + 100)
        assert not load.failed, load
        assert hub.gateway.fleet.certificate is not None
        metrics = await hub.metrics()
        assert 'inferencehub_gateway_reloads_total{setting="HUB_TIER_TLS"} 4.0' in metrics
        contents = hub.gateway.fleet.certificate.contents
        assert contents.authorities == new.certificate.read_bytes()


async def test_a_gateway_whose_authority_is_withdrawn_is_out(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path
) -> None:
    """By unary calls, by its streams and by a stream of gRPC, all of which it had before."""
    new = Authority(tmp_path, "new")
    async with AsyncExitStack() as stack:
        pod = await stack.enter_async_context(secure_pod(models, secrets))
        address = (f"127.0.0.1:{pod.port}",)
        gateway = await stack.enter_async_context(
            running_gateway(address, hold_s=0.0, **secrets.gateway.tier_settings)
        )
        await eventually(lambda: len(streams_of(pod)) == 2 and gateway.fleet.ready)
        shows = authority.signed(GATEWAY)
        channel = await stack.enter_async_context(secure_channel(pod, authority, shows))
        infer = infer_of(channel)
        open_stream: Any = channel.stream_stream(
            f"/{messages.SERVICE}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        stream = open_stream()
        await stream.write(features("quick", 1.0, id="1"))
        assert (await stream.read()).infer_response.id == "1"
        await infer(features("quick", 1.0))

        secrets.inference.hold(*new.signed(INFERENCE), new)
        loop = asyncio.get_running_loop()
        withdrawn = loop.time()

        async def refused() -> None:
            while True:
                try:
                    await infer(features("quick", 1.0), timeout=20)
                except grpc.aio.AioRpcError:
                    return
                await asyncio.sleep(0.2)

        await eventually(lambda: pod.certificate is not None and pod.certificate.reloads == 1)
        late = open_stream()  # the connection is from before, and still takes calls
        await late.write(features("quick", 1.0, id="2"))
        assert (await late.read()).infer_response.id == "2"
        async with asyncio.timeout(60):
            await refused()
            for each in (stream, late):
                with pytest.raises(grpc.aio.AioRpcError, match="open it again"):
                    await each.read()
        await eventually(lambda: not streams_of(pod) and not gateway.fleet.ready)
        assert loop.time() - withdrawn < 40  # 14 at rest
        secrets.gateway.hold(*new.signed(GATEWAY), new)
        await eventually(lambda: len(streams_of(pod)) == 2 and gateway.fleet.ready)


async def test_who_does_not_answer_pings_is_not_waited_for(
    models: Path, secrets: Secrets, authority: Authority
) -> None:
    """gRPC asks before it closes a connection for good, and takes calls until then."""
    context = client(authority.certificate.read_text(), authority.signed(GATEWAY))
    context.set_alpn_protocols(["h2"])
    async with secure_pod(models, secrets) as pod:
        began = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", pod.port, ssl=context, server_hostname="localhost"
        )
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        with suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(2**16), 90):
                pass
        assert asyncio.get_running_loop().time() - began < 40  # 8 at rest
        writer.close()


async def test_a_handshake_that_began_before_a_withdrawal_comes_to_nothing(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path
) -> None:
    new = Authority(tmp_path, "new")
    context = client(authority.certificate.read_text(), authority.signed(GATEWAY))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with secure_pod(models, secrets) as pod:
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.servicer.streams.port)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        writer.write(outgoing.read())
        incoming.write(await reader.read(2**16))
        secrets.inference.hold(*new.signed(INFERENCE), new)
        await eventually(lambda: pod.certificate is not None and pod.certificate.reloads == 1)
        tls.do_handshake()
        writer.write(outgoing.read())
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        assert not streams_of(pod)
        writer.close()


@pytest.mark.parametrize("missing", ["tier_tls_cert", "tier_tls_key", "tier_tls_ca"])
@pytest.mark.parametrize("settings", [GatewaySettings, InferenceSettings])
def test_half_of_the_files_is_refused(secrets: Secrets, settings: Any, missing: str) -> None:
    given = {**secrets.gateway.tier_settings, missing: ""}
    with pytest.raises(SettingError) as caught:
        settings(**given)
    said = "HUB_TIER_TLS_CERT, HUB_TIER_TLS_KEY and HUB_TIER_TLS_CA belong together, expected all or none"
    assert str(caught.value) == said


def test_authorities_that_are_none_end_the_start_with_a_sentence(secrets: Secrets, tmp_path: Path) -> None:
    given = secrets.gateway.tier_settings
    (tmp_path / "front" / "empty").touch()
    for file, said in (
        ("tls.key", "HUB_TIER_TLS_CA ({}) cannot be used, expected certificates as PEM: "),
        (
            "empty",
            "HUB_TIER_TLS_CA ({}) cannot be used, expected certificates as PEM: Empty certificate data",
        ),
        ("none", "HUB_TIER_TLS_CA names {}, which cannot be read: No such file or directory"),
    ):
        given["tier_tls_ca"] = str(tmp_path / "front" / file)
        with pytest.raises(BadFile) as caught:
            Gateway(GatewaySettings(**given))
        assert said.format(given["tier_tls_ca"]) in str(caught.value)


@pytest.mark.parametrize("how", ["refused", "cancelled"])
async def test_a_stream_without_a_connection_ends_as_one_in_plain(secrets: Secrets, how: str) -> None:
    """The port may refuse, or the node may have vanished, so that nobody answers."""
    certificate = GatewaySettings(**secrets.gateway.tier_settings).tier_certificate(calls=INFERENCE)
    with socket.socket() as listening, ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        if how == "refused":
            with pytest.raises(ConnectionRefusedError):
                await PodStream(address, 2**26, 30.0, certificate).open()
            return
        listening.listen(0)
        for _ in range(4):  # its queue is full, so the next connection is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        opening = asyncio.create_task(PodStream(address, 2**26, 60.0, certificate).open())
        await asyncio.sleep(0.2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening


async def test_a_pod_that_is_replaced_and_lost_at_that_moment_leaves_nothing(
    models: Path, secrets: Secrets
) -> None:
    async with secure_hub(models, secrets) as hub:
        (pod,) = hub.gateway.fleet.pods.values()
        retiring = asyncio.create_task(pod.retire())
        await asyncio.sleep(0.1)
        pod._channel = None  # as after a lost connection
        await asyncio.wait_for(retiring, 30)
        assert pod.ended


@pytest.mark.parametrize("comment", ["# Główny urząd\n".encode(), b"\xe9\n"])
async def test_a_comment_beside_the_authorities_may_be_anything(
    models: Path, secrets: Secrets, authority: Authority, comment: bytes
) -> None:
    async with secure_pod(models, secrets) as pod:
        file = secrets.inference.directory / "..data" / "ca.crt"
        await asyncio.to_thread(file.write_bytes, comment + authority.certificate.read_bytes())
        await eventually(lambda: pod.certificate is not None and pod.certificate.reloads == 1)
        async with secure_channel(pod, authority, authority.signed(GATEWAY)) as channel:
            assert (await infer_of(channel)(features("quick", 1.0, id="7"))).id == "7"


async def test_an_empty_file_of_authorities_opens_no_door(
    models: Path, secrets: Secrets, authority: Authority
) -> None:
    """Nobody must show a certificate where nobody is trusted: so it is not used, and the last one holds."""
    async with secure_pod(models, secrets) as pod:
        file = secrets.inference.directory / "..data" / "ca.crt"
        await asyncio.to_thread(file.write_bytes, b"")
        await eventually(lambda: pod.certificate is not None and pod.certificate.refused)
        async with secure_channel(pod, authority, None) as channel:
            assert {code for code, _ in (await refusals(channel)).values()} == {"UNAVAILABLE"}
        async with secure_channel(pod, authority, authority.signed(GATEWAY)) as channel:
            assert (await infer_of(channel)(features("quick", 1.0, id="7"))).id == "7"
