"""Callers who show a certificate: the name in it is who they are, over HTTP, gRPC and streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.key_file import new_key
from inferencehub.core.oip import messages
from inferencehub.core.process.settings import SettingError
from inferencehub.core.tls.contexts import names_of
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.pb import open_inference_pb2 as pb
from tests.authority import Authority, Secret, client
from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_hub
from tests.inference.pod_processes import features
from tests.load import drawn

ROBOT = "robot.example"
ENTRY = {"id": "robot", "certificate": ROBOT, "tenant": "lab", "models": ["quick"]}
KEY = new_key("ci")
CALL = {"features": [1.0, 2.0], "model_name": "quick"}
URIS = "subjectAltName = URI:spiffe://example/{name}, DNS:{name}\nauthorityKeyIdentifier = keyid\n"
Pair = tuple[Path, Path]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "first")


@pytest.fixture
def secret(tmp_path: Path, authority: Authority) -> Secret:
    """The gateway's certificate, and whom it trusts."""
    made = Secret(tmp_path / "secret")
    made.hold(*authority.signed("gateway"), authority)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Who has which certificate, and a key."""
    made = tmp_path / "keys.json"
    write(made, ENTRY, {"id": "ci", "sha256": sha256(KEY.encode()).hexdigest()})
    return made


def write(file: Path, *entries: dict[str, Any]) -> None:
    """Put these entries into the file of keys."""
    file.write_text(json.dumps({"keys": entries}))


@asynccontextmanager
async def mutual_hub(tmp_path: Path, secret: Secret, **settings: Any) -> AsyncIterator[Hub]:
    """Two models behind a gateway to which each caller must show a certificate."""
    for name in ("quick", "hidden"):
        mock_model(tmp_path / "models", name)
    more = {"tls_ca": str(secret.directory / "ca.crt"), "hold_s": 0.0, **settings}
    async with running_hub(tmp_path / "models", **secret.settings, **more) as hub:
        yield hub


async def post(hub: Hub, authority: Authority, shows: Pair | None, **more: Any) -> tuple[int, Any]:
    """What /predict answers on a new connection."""
    context = await asyncio.to_thread(client, authority.certificate.read_text(), shows)
    url = f"https://localhost:{hub.gateway.port}/predict"
    body = {**CALL, **more.pop("body", {})}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, ssl=context, **more) as answer,
    ):
        return answer.status, await answer.json()


@asynccontextmanager
async def over_grpc(hub: Hub, authority: Authority, shows: Pair | None) -> AsyncIterator[Any]:
    """A channel of its own to the gateway."""
    pair = [None, None] if shows is None else [file.read_bytes() for file in reversed(shows)]
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), *pair)
    own = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(f"localhost:{hub.gateway.grpc.port}", credentials, own) as channel:
        yield channel


def infer_of(channel: Any) -> Any:
    return channel.unary_unary(
        f"/{messages.SERVICE}/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )


def stream_of(channel: Any) -> Any:
    return channel.stream_stream(
        f"/{messages.SERVICE}/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )()


async def failure(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""


@pytest.mark.parametrize("extensions", [None, URIS], ids=["host", "uri"])
async def test_the_name_in_a_certificate_is_who_calls(
    tmp_path: Path, authority: Authority, secret: Secret, file: Path, extensions: str | None
) -> None:
    name, who = (ROBOT, ROBOT) if extensions is None else ("robot", "spiffe://example/robot")
    write(file, {**ENTRY, "certificate": who})
    shows = authority.signed(name) if extensions is None else authority.signed(name, extensions)
    refused = f"the certificate of '{who}' may not use model 'hidden'"
    async with mutual_hub(tmp_path, secret, api_keys=str(file)) as hub:
        status, found = await post(hub, authority, shows)
        assert (status, found["class_id"], found["confidence"]) == (200, *drawn(1.0, 2.0))
        status, found = await post(hub, authority, shows, body={"model_name": "hidden"})
        assert (status, found["error"]) == (403, refused)
        async with over_grpc(hub, authority, shows) as channel:
            infer = infer_of(channel)
            assert (await infer(features("quick", 1.0, 2.0, id="7"))).id == "7"
            assert await failure(infer(features("hidden", 1.0, 2.0))) == ("PERMISSION_DENIED", refused)
            stream = stream_of(channel)
            for model, said in (("quick", ""), ("hidden", refused)):
                await stream.write(features(model, 1.0, 2.0, id="8"))
                assert said in (await stream.read()).error_message
            await stream.done_writing()


async def test_who_has_no_entry_needs_a_key(
    tmp_path: Path, authority: Authority, secret: Secret, file: Path
) -> None:
    shows = authority.signed("stranger.example")
    said = (
        "the certificate is for stranger.example, localhost, 127.0.0.1, which is unknown, and there is no key: "
        "send a key as 'Authorization: Bearer hub_…' or 'X-Api-Key: hub_…'"
    )
    async with mutual_hub(tmp_path, secret, api_keys=str(file)) as hub:
        status, found = await post(hub, authority, shows)
        assert (status, found["error"]) == (401, said)
        assert (await post(hub, authority, shows, headers={"x-api-key": KEY}))[0] == 200
        async with over_grpc(hub, authority, shows) as channel:
            infer = infer_of(channel)
            assert await failure(infer(features("quick", 1.0))) == ("UNAUTHENTICATED", said)
            assert await failure(stream_of(channel).read()) == ("UNAUTHENTICATED", said)
            key = (("authorization", f"Bearer {KEY}"),)
            assert (await infer(features("quick", 1.0, 2.0, id="7"), metadata=key)).id == "7"


async def test_without_a_certificate_nothing_is_asked_and_the_reason_is_logged(
    tmp_path: Path, authority: Authority, secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path, "other")
    async with mutual_hub(tmp_path, secret) as hub:
        for shows in (None, other.signed(ROBOT)):
            caplog.clear()
            with pytest.raises(aiohttp.ClientError):
                await post(hub, authority, shows)
            (record,) = [one for one in caplog.records if one.getMessage() == "a TLS handshake failed"]
            async with over_grpc(hub, authority, shows) as channel:
                assert (await failure(infer_of(channel)(features("quick", 1.0))))[0] == "UNAVAILABLE"
            await asyncio.sleep(1.1)  # a line a second
        assert "certificate" in vars(record)["reason"]


async def test_without_entries_each_certificate_of_the_authority_is_good(
    tmp_path: Path, authority: Authority, secret: Secret
) -> None:
    shows = authority.signed(ROBOT)
    nameless = authority.signed("nobody", "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n")
    async with mutual_hub(tmp_path, secret) as hub:
        for model in ("quick", "hidden"):
            assert (await post(hub, authority, shows, body={"model_name": model}))[0] == 200
        status, found = await post(hub, authority, nameless)
        said = "the certificate has no name, expected a host, an address or a URI"
        assert (status, found["error"]) == (401, said)
        async with over_grpc(hub, authority, nameless) as channel:
            assert await failure(infer_of(channel)(features("quick", 1.0))) == ("UNAUTHENTICATED", said)
        context = client(authority.certificate.read_text(), shows)
        async with Raw(hub.gateway.port, tls=context) as raw:
            await raw.send(request("POST", "/v2/logging", b"{}"))
            said = f"the certificate of '{ROBOT}' may not control, it may describe, infer"
            answer = await raw.read()
            assert (answer.status, answer.json["error"]) == (403, said)


@pytest.mark.parametrize("entries", [True, False])
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 200),
        (["origin: https://evil.example"], 403),
        (["origin: null"], 403),
        (["sec-fetch-site: cross-site"], 403),
        (["sec-fetch-site: same-site", "origin: https://other.example"], 403),
        (["origin: https://hub"], 200),
        (["sec-fetch-site: same-origin", "origin: https://hub"], 200),
        (["sec-fetch-site: none"], 200),
        (["sec-fetch-site: cross-site", "origin: https://app.example"], 200),
        (["origin: https://evil.example", f"x-api-key: {KEY}"], 200),
    ],
)
async def test_a_page_can_not_use_the_certificate_of_a_browser(
    tmp_path: Path,
    authority: Authority,
    secret: Secret,
    file: Path,
    entries: bool,
    lines: list[str],
    status: int,
) -> None:
    """A browser shows it with each request, also with those that the page of a stranger makes."""
    if not entries and any("x-api-key" in line for line in lines):
        status = 403  # nobody asks for keys there
    context = client(authority.certificate.read_text(), authority.signed(ROBOT))
    settings = {"api_keys": str(file)} if entries else {}
    cors = {"cors_origins": ("https://app.example",), "cors_credentials": True}
    async with (
        mutual_hub(tmp_path, secret, **settings, **cors) as hub,
        Raw(hub.gateway.port, tls=context) as raw,
    ):
        await raw.send(request("POST", "/predict", json.dumps(CALL).encode(), *lines))
        assert (await raw.read()).status == status


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("DNS", "Robot.Example", ["robot.example"]),
        ("IP Address", "2001:DB8:0:0:0:0:0:1", ["2001:db8::1"]),
        ("URI", "spiffe://Example/Robot", ["spiffe://Example/Robot"]),
        ("URI", "robot.example", []),
        ("DNS", "10.0.0.1", []),
        ("DNS", "", []),
    ],
)
def test_a_name_is_of_one_kind(kind: str, name: str, found: list[str]) -> None:
    """One that would be taken for a name of another kind is none: an authority may be bound to some kinds."""
    assert names_of({"subjectAltName": ((kind, name),)}) == found


def test_an_entry_that_has_expired_hides_no_other(tmp_path: Path) -> None:
    old = {"id": "old", "certificate": "Old.Example", "not_after": "2020-01-31T00:00:00Z"}
    write(tmp_path / "keys.json", old, ENTRY)
    keys = ApiKeys(str(tmp_path / "keys.json"), "HUB_API_KEYS")
    found = keys.holder(["old.example", ROBOT])
    assert found is not None
    assert found.id == "robot"
    with pytest.raises(HubError, match=r"the certificate of 'Old\.Example' has expired"):
        keys.holder(["old.example"])


async def test_a_header_is_no_certificate(
    tmp_path: Path, authority: Authority, secret: Secret, file: Path
) -> None:
    shows = authority.signed("stranger.example")
    async with mutual_hub(tmp_path, secret, api_keys=str(file)) as hub:
        context = client(authority.certificate.read_text(), shows)
        for line in (f"names: {ROBOT}", f"x-forwarded-client-cert: DNS={ROBOT}", f"x-client-cert: {ROBOT}"):
            async with Raw(hub.gateway.port, tls=context) as raw:
                await raw.send(request("POST", "/predict", json.dumps(CALL).encode(), line))
                assert (await raw.read()).status == 401


async def test_a_changed_file_holds_for_open_connections_too(
    tmp_path: Path, authority: Authority, secret: Secret, file: Path
) -> None:
    context = client(authority.certificate.read_text(), authority.signed(ROBOT))
    async with (
        mutual_hub(tmp_path, secret, api_keys=str(file)) as hub,
        Raw(hub.gateway.port, tls=context) as raw,
    ):
        for status, entry in ((200, ENTRY), (401, {**ENTRY, "certificate": "other.example"})):
            write(file, entry)
            assert hub.gateway.callers.keys is not None
            hub.gateway.callers.keys.look()
            await raw.send(request("POST", "/predict", json.dumps(CALL).encode()))
            assert (await raw.read()).status == status


async def test_an_authority_that_is_not_trusted_any_more_ends_its_connections(
    tmp_path: Path, authority: Authority, secret: Secret
) -> None:
    new = Authority(tmp_path, "new")
    server = authority.signed("gateway-2")
    context = client(authority.certificate.read_text(), authority.signed(ROBOT))
    async with mutual_hub(tmp_path, secret) as hub, Raw(hub.gateway.port, tls=context) as raw:
        await raw.send(request("GET", "/v2"))
        assert (await raw.read()).status == 200
        secret.hold(*server, new)
        certificate = hub.gateway.certificate
        await eventually(lambda: certificate is not None and certificate.reloads == 1)
        assert await raw.closed() == b""
        with pytest.raises(aiohttp.ClientError):
            await post(hub, authority, authority.signed(ROBOT))


def test_authorities_of_callers_need_tls() -> None:
    with pytest.raises(SettingError, match="HUB_TLS_CA is there without HUB_TLS_CERT"):
        GatewaySettings(tls_ca="/ca.crt")


async def test_a_certificate_that_expires_is_no_longer_good_on_an_open_connection(
    tmp_path: Path, authority: Authority, secret: Secret, file: Path
) -> None:
    shows = authority.brief(ROBOT, 2)
    context = client(authority.certificate.read_text(), shows)
    async with (
        mutual_hub(tmp_path, secret, api_keys=str(file)) as hub,
        Raw(hub.gateway.port, tls=context) as raw,
    ):
        answers = []
        for _ in range(2):
            await raw.send(request("POST", "/predict", json.dumps(CALL).encode()))
            answers.append(await raw.read())
            await asyncio.sleep(3)
        assert [answer.status for answer in answers] == [200, 401]
        assert json.loads(answers[1].body)["error"] == "the certificate of this connection has expired"


async def test_streams_are_opened_again_where_the_authorities_change(
    tmp_path: Path, authority: Authority, secret: Secret, file: Path
) -> None:
    other = Authority(tmp_path, "second")
    async with mutual_hub(tmp_path, secret, api_keys=str(file)) as hub:
        async with over_grpc(hub, authority, authority.signed(ROBOT)) as channel:
            stream = stream_of(channel)
            await stream.write(features("quick", 1.0, 2.0, id="7"))
            assert (await stream.read()).infer_response.id == "7"
            secret.hold(*authority.signed("gateway"), other)
            assert hub.gateway.certificate is not None
            hub.gateway.certificate.look()
            code, said = await failure(stream.read())
        assert (code, said[:29]) == ("UNAVAILABLE", "the server ends the stream; w")
