"""CORS beside keys and caches: preflights carry no key, pages read every answer, and credentials are for named origins."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.auth.key_file import digest, new_key
from inferencehub.core.process.settings import SettingError
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.gateway.raw import Answer, Raw
from tests.hub import mock_model, running_hub

PAGE, STRANGER = "https://app.example", "https://other.example"
KEY = new_key("page")
GOOD = b'{"features":[1,2,3]}'
BEARER = f"authorization: Bearer {KEY}"
ORIGIN = f"origin: {PAGE}"


@asynccontextmanager
async def gateway(tmp_path: Path, *origins: str, **settings: Any) -> AsyncIterator[Raw]:
    """A connection to a gateway that asks for keys, and accepts pages of these origins."""
    mock_model(tmp_path / "models")
    file = tmp_path / "keys.json"
    entry = {"id": "page", "sha256": digest(KEY.encode()).hex(), "rate": 0.01, "burst": 1}
    file.write_text(json.dumps({"keys": [entry]}))
    async with (
        running_hub(
            tmp_path / "models",
            default_model="quick",
            api_keys=str(file),
            cors_origins=origins,
            max_body_bytes=1000,
            **settings,
        ) as hub,
        Raw(hub.gateway.port) as raw,
    ):
        yield raw


async def preflight(raw: Raw, origin: str, headers: str = "authorization", method: str = "POST") -> Answer:
    """What a browser asks before the call of a page; it sends no credentials with it."""
    wanted = (f"access-control-request-method: {method}", f"access-control-request-headers: {headers}")
    return await raw.ask("OPTIONS", "/predict", None, f"origin: {origin}", *wanted)


def words(answer: Answer, name: str) -> set[str]:
    """The words of a header's list, in lower case."""
    return set(answer.headers.get(name, "").lower().split(", "))


async def test_a_preflight_needs_no_key_and_counts_for_none(tmp_path: Path) -> None:
    own = "authorization, x-api-key, x-request-id, x-request-timeout-ms, content-type, content-encoding, inference-header-content-length"
    async with gateway(tmp_path, PAGE) as raw:
        for _ in range(5):
            answer = await preflight(raw, PAGE, own)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, PAGE)
            assert set(own.split(", ")) <= words(answer, "access-control-allow-headers")
        assert (await raw.ask("POST", "/predict", GOOD, ORIGIN)).status == 401
        assert (await raw.ask("POST", "/predict", GOOD, ORIGIN, BEARER)).status == 200
        assert (await preflight(raw, PAGE)).status == 200, "it has no key whose limit could be reached"


async def test_a_page_reads_each_refusal_and_what_it_says(tmp_path: Path) -> None:
    async with gateway(tmp_path, PAGE) as raw:
        asked: dict[int, tuple[str, bytes, tuple[str, ...]]] = {
            401: ("POST", GOOD, ()),
            413: ("POST", b" " * 2000, (BEARER,)),
            429: ("POST", GOOD, (BEARER,)),
            405: ("PUT", GOOD, ()),
        }
        for status, (method, body, headers) in asked.items():
            answer = await raw.ask(method, "/predict", body, ORIGIN, *headers)
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == PAGE, status
            telling = {"retry-after", "ratelimit", "ratelimit-policy", "www-authenticate", "x-request-id"}
            assert telling <= words(answer, "access-control-expose-headers")
            assert answer.headers.keys() >= (
                {"retry-after", "ratelimit"} if status == 429 else {"x-request-id"}
            )
        for path in ("/v2/models", "/docs", "/nothing"):
            assert (await raw.ask("GET", path, None, ORIGIN)).headers[
                "access-control-allow-origin"
            ] == PAGE, path


async def test_a_cache_is_told_that_answers_depend_on_the_origin(tmp_path: Path) -> None:
    async with gateway(tmp_path, PAGE) as raw:
        for more in ((ORIGIN,), (f"origin: {STRANGER}",), ()):
            assert "origin" in words(await raw.ask("GET", "/healthz", None, *more), "vary"), more
            assert "origin" in words(await raw.ask("POST", "/predict", GOOD, *more), "vary"), more
    async with gateway(tmp_path, "*") as raw:
        for more in ((ORIGIN,), ()):
            answer = await raw.ask("GET", "/healthz", None, *more)
            assert "vary" not in answer.headers
            assert answer.headers.get("access-control-allow-origin") == ("*" if more else None)


@pytest.mark.parametrize("credentials", [False, True])
async def test_credentials_are_for_origins_that_are_named(tmp_path: Path, credentials: bool) -> None:
    async with gateway(tmp_path, PAGE, "http://localhost:8080", cors_credentials=credentials) as raw:
        for origin in (PAGE, "http://localhost:8080"):
            call = await raw.ask("POST", "/predict", GOOD, f"origin: {origin}")
            for answer in (await preflight(raw, origin), call):
                assert answer.headers["access-control-allow-origin"] == origin
                allowed = answer.headers.get("access-control-allow-credentials")
                assert allowed == ("true" if credentials else None)
                for name in (
                    "origin",
                    "headers",
                    "methods",
                ):  # where credentials are allowed, * stands for nothing
                    assert "*" not in answer.headers.get(f"access-control-allow-{name}", "")
        for origin in (
            STRANGER,
            "null",
            f"{PAGE}.evil.example",
            f"{PAGE}:443",
            "http://app.example",
            PAGE.upper(),
            "https://",
        ):
            call = await raw.ask("POST", "/predict", GOOD, f"origin: {origin}")
            for answer in (await preflight(raw, origin), call):
                assert not [name for name in answer.headers if name.startswith("access-control-")], origin
            assert (await preflight(raw, origin)).status == 400


async def test_all_origins_never_get_credentials(tmp_path: Path) -> None:
    async with gateway(tmp_path, "*") as raw:
        for answer in (await preflight(raw, PAGE), await raw.ask("POST", "/predict", GOOD, ORIGIN)):
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
    for origins in (("*",), (PAGE, "*"), ()):
        with pytest.raises(
            SettingError, match="HUB_CORS_CREDENTIALS is true, so HUB_CORS_ORIGINS must name origins"
        ):
            GatewaySettings(cors_origins=origins, cors_credentials=True)


@pytest.mark.parametrize(
    "origin",
    ["https://app.example/", "https://app.example/a", "https://App.example", "HTTPS://app.example", "https://app.example:443",
     "http://app.example:80", "app.example", "null", "https://*.example", "https://user@app.example", "https://", "https://a:",
     "https://a:0", "https://a b", "https://a\r\nx: y"],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(
        SettingError, match=r"HUB_CORS_ORIGINS has '[^']*', expected \* or an origin as browsers send it"
    ):
        GatewaySettings(cors_origins=(origin,))


def test_origins_that_browsers_send_are_taken() -> None:
    sent = (
        "https://app.example",
        "http://localhost:3000",
        "http://127.0.0.1",
        "https://[::1]:8443",
        "https://a:80",
        "http://a:443",
    )
    assert GatewaySettings(cors_origins=sent).cors_origins == sent
