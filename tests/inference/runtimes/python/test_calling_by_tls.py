"""Python models that call other models through a gateway that speaks TLS to its callers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.files.watched import BadFile, WatchedFiles
from inferencehub.core.process.settings import SettingError, read_settings
from inferencehub.inference.settings import InferenceSettings
from tests.authority import Authority, Secret, client
from tests.hub import Hub, eventually, write_model
from tests.inference.runtimes.python.calling_models import CONFIG, FLIGHTS, calling_hub, post, write_models

WAITS = """
import asyncio

class Model:
    def __init__(self, directory, parameters): self.directory = directory
    async def predict(self, inputs, context):
        (self.directory / "begun").touch()
        while not (self.directory / "end").exists():
            await asyncio.sleep(0.01)
        return {"y": inputs["x"] * 3}
"""
UNREACHED = "model 'caller': not_ready|double|the gateway cannot be reached; the pod's log says why"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """It signs the gateway's certificate."""
    return Authority(tmp_path, "authority")


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "other")


@pytest.fixture
def secret(tmp_path: Path, authority: Authority) -> Secret:
    """That of the gateway."""
    secret = Secret(tmp_path / "gateway")
    secret.hold(*authority.signed("hub.example"), authority)
    return secret


@asynccontextmanager
async def secured(
    models: Path,
    secret: Secret,
    trusted: tuple[Authority, ...],
    pod: Mapping[str, Any],
    shows: tuple[Path, Path] | None = None,
    **settings: Any,
) -> AsyncIterator[Hub]:
    """A hub whose gateway speaks TLS to callers.

    Args:
        models: where its models are written.
        secret: of the gateway.
        trusted: authorities that the test trusts as a caller.
        pod: settings of the pod.
        shows: what the test shows as a caller.
        settings: of the gateway.
    """
    write_models(models)
    tls = client("".join(one.certificate.read_text() for one in trusted), shows)
    async with (
        calling_hub(models, pod=pod, **secret.settings, **settings) as plain,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as secure,
    ):
        hub = Hub(plain.gateway, plain.pods, secure)
        hub.url = f"https://localhost:{hub.gateway.port}"
        yield hub


def look(*files: WatchedFiles | None) -> None:
    """Let changes of files be seen now."""
    for file in files:
        assert file is not None
        file.look()


@pytest.mark.parametrize("name", ["", "hub.example"])
async def test_a_model_gets_the_outputs_of_another_through_tls(
    tmp_path: Path, secret: Secret, authority: Authority, name: str
) -> None:
    pod = {"gateway_tls_ca": str(authority.certificate), "gateway_tls_server_name": name}
    async with secured(tmp_path / "models", secret, (authority,), pod) as hub:
        assert await post(hub, [1, 2.5]) == (200, [2, 5])
        assert await post(hub, [1], do="many") == (200, [2 * sum(1 + n for n in range(50))])
        assert await post(hub, [3_000_000], do="large") == (200, [0])
        _, sentence = await post(hub, [1], do="caught", model="refuse")
        assert sentence.startswith("model 'caller': bad_input|refuse|model 'refuse': not this")


@pytest.mark.parametrize(
    ("given", "reason", "expected"),
    [
        (
            {"gateway_tls_ca": "{}/other.crt"},
            "CERTIFICATE_VERIFY_FAILED",
            "TLS, with a certificate for 127.0.0.1 of an authority in HUB_GATEWAY_TLS_CA ({}/other.crt)",
        ),
        (
            {"gateway_tls_ca": "{}/authority.crt", "gateway_tls_server_name": "hub.test"},
            "Hostname Verification Check failed",
            "TLS, with a certificate for hub.test of an authority in HUB_GATEWAY_TLS_CA ({}/authority.crt)",
        ),
        ({}, "", "a gateway that speaks in plain, for HUB_GATEWAY_TLS_CA is not set"),
    ],
)
async def test_a_gateway_that_is_another_one_is_not_called_and_the_log_says_why(
    tmp_path: Path,
    secret: Secret,
    authority: Authority,
    other: Authority,
    given: dict[str, str],
    reason: str,
    expected: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert other.certificate.exists()
    pod = {name: value.format(tmp_path) for name, value in given.items()}
    async with secured(tmp_path / "models", secret, (authority,), pod) as hub:
        assert await post(hub, [1], do="caught") == (400, UNREACHED)
    (line,) = [one for one in caplog.records if one.message == "a model's call did not reach the gateway"]
    assert reason in line.__dict__["reason"]
    assert line.__dict__["expected"] == expected.format(tmp_path)


async def test_a_pod_that_speaks_tls_does_not_call_in_plain(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    write_models(tmp_path / "models")
    pod = {"gateway_tls_ca": str(authority.certificate)}
    async with calling_hub(tmp_path / "models", pod=pod) as hub:
        for _ in range(3):  # the log has one line for them
            assert await post(hub, [1], do="caught") == (400, UNREACHED)
    (line,) = [one for one in caplog.records if one.message == "a model's call did not reach the gateway"]
    assert "WRONG_VERSION_NUMBER" in line.__dict__["reason"]


async def test_new_authorities_are_for_the_next_call_and_what_runs_is_not_cut_off(
    tmp_path: Path, secret: Secret, authority: Authority, other: Authority
) -> None:
    models, trusted = tmp_path / "models", tmp_path / "trusted.crt"
    trusted.write_text(authority.certificate.read_text())
    write_model(models, "waits", CONFIG + FLIGHTS, {"1/model.py": WAITS})
    async with secured(models, secret, (authority, other), {"gateway_tls_ca": str(trusted)}) as hub:
        (pod,) = hub.pods
        running = asyncio.create_task(post(hub, [7], model="waits"))
        await eventually((models / "waits/1/begun").exists)
        secret.hold(*other.signed("hub.example"), other)
        trusted.write_text("none")
        look(hub.gateway.certificate, pod.gateway_certificate)
        assert pod.gateway_certificate is not None
        said = f"HUB_GATEWAY_TLS_CA ({trusted}) cannot be used, expected certificates as PEM"
        assert pod.gateway_certificate.reason.startswith(said)
        assert await post(hub, [1]) == (200, [2])  # over the connection that is there

        trusted.write_text(other.certificate.read_text())
        look(pod.gateway_certificate)
        assert await post(hub, [1]) == (200, [2])  # over one that the former authority does not vouch for
        assert connections(hub) == 2
        assert not running.done()
        (models / "waits/1/end").touch()
        assert await running == (200, [21])
        await eventually(lambda: connections(hub) == 1)
        assert await post(hub, [1]) == (200, [2])

        trusted.write_text(authority.certificate.read_text())  # and none runs meanwhile
        look(pod.gateway_certificate)
        assert await post(hub, [1], do="caught") == (400, UNREACHED)
        await eventually(lambda: connections(hub) == 0)


def connections(hub: Hub) -> int:
    """Those that the gateway's gRPC port has, as Linux lists them: local address and state by columns."""
    rows = [
        row.split()
        for file in ("tcp", "tcp6")
        for row in Path("/proc/net", file).read_text().splitlines()[1:]
    ]
    mine = f":{hub.gateway.grpc.port:04X}"
    return sum(row[1].endswith(mine) and row[3] == ESTABLISHED for row in rows)


ESTABLISHED = "01"


async def test_a_pod_shows_a_certificate_which_is_who_calls(
    tmp_path: Path, secret: Secret, authority: Authority
) -> None:
    entries = [
        {"id": name, "certificate": name, "models": models}
        for name, models in {"me": ["caller"], "pods": ["double"]}.items()
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    shows = authority.signed("me", "subjectAltName = DNS:me\n")
    chain, key = authority.signed("pods", "subjectAltName = DNS:pods\n")
    ca = str(authority.certificate)
    asks: dict[str, Any] = {"tls_ca": ca, "api_keys": str(tmp_path / "keys.json"), "shows": shows}
    pod = {"gateway_tls_ca": ca, "gateway_tls_cert": str(chain), "gateway_tls_key": str(key)}
    async with secured(tmp_path / "models", secret, (authority,), pod, **asks) as hub:
        assert await post(hub, [1, 2.5]) == (200, [2, 5])
        _, sentence = await post(hub, [1], do="caught", model="refuse")
        assert sentence.startswith("model 'caller': forbidden|refuse|")
        async with hub.client.get(f"http://127.0.0.1:{hub.pods[0].ops.port}/metrics") as page:
            text = await page.text()
        assert 'certificate_end_timestamp_seconds{setting="HUB_GATEWAY_TLS"}' in text
    async with secured(tmp_path / "models", secret, (authority,), {"gateway_tls_ca": ca}, **asks) as hub:
        assert await post(hub, [1], do="caught") == (400, UNREACHED)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"TLS_CA": "ca.crt"}, "HUB_GATEWAY_TLS_CA is set and HUB_GATEWAY is not, expected the address"),
        (
            {"": "hub:3001", "TLS_SERVER_NAME": "hub"},
            "HUB_GATEWAY_TLS_SERVER_NAME is set and HUB_GATEWAY_TLS_CA is not, expected the file with the authorities",
        ),
        (
            {"": "hub:3001", "TLS_CERT": "tls.crt", "TLS_KEY": "tls.key"},
            "HUB_GATEWAY_TLS_CERT is set and HUB_GATEWAY_TLS_CA is not",
        ),
        (
            {"": "hub:3001", "TLS_CA": "ca.crt", "TLS_KEY": "tls.key"},
            "HUB_GATEWAY_TLS_CERT and HUB_GATEWAY_TLS_KEY belong together",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given: dict[str, str], sentence: str) -> None:
    names = {f"HUB_GATEWAY_{name}".rstrip("_"): value for name, value in given.items()}
    with pytest.raises(SettingError, match=sentence):
        read_settings(InferenceSettings, names)


def test_a_file_without_authorities_is_refused_at_the_start(tmp_path: Path, authority: Authority) -> None:
    file = tmp_path / "ca.crt"
    settings = InferenceSettings(gateway="[::1]:3001", gateway_tls_ca=str(file))
    with pytest.raises(BadFile, match=r"HUB_GATEWAY_TLS_CA names .*, which cannot be read: No such file"):
        settings.gateway_certificate()
    file.write_text("nothing")
    with pytest.raises(
        BadFile, match=r"HUB_GATEWAY_TLS_CA \(.*\) cannot be used, expected certificates as PEM"
    ):
        settings.gateway_certificate()
    file.write_text(authority.certificate.read_text())
    found = settings.gateway_certificate()
    assert found is not None
    assert found.calls == "::1"
