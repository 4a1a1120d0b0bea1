"""Keys from a real server in a process of its own: fetched again in time, and kept where the server fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import enumerate as enumerate_threads

import pytest

from inferencehub.core.auth.jwt.fetched_keys import FetchedKeys
from inferencehub.core.auth.jwt.public_keys import UnknownKey
from inferencehub.core.files.watched import BadFile
from tests.authority import Authority
from tests.hub import eventually
from tests.issuer import Issuer, serving

SAID = "the keys of tokens could not be fetched"


@asynccontextmanager
async def fetching(url: str, authorities: str = "") -> AsyncIterator[FetchedKeys]:
    """Keys that are fetched again after 0.2 s."""
    keys = FetchedKeys(url, "HUB_JWT_KEYS", authorities, again_s=0.2)
    keys.start()
    try:
        yield keys
    finally:
        await keys.stop()


def knows(keys: FetchedKeys, name: str, algorithm: str) -> bool:
    try:
        return keys.keys is not None and keys.keys.find({"kid": name, "alg": algorithm}).kid == name
    except UnknownKey:
        return False


async def test_a_key_that_is_missing_is_fetched(tmp_path: Path, issuer: Issuer) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(issuer.key_set("RS256"))
    async with serving(tmp_path) as address, fetching(f"{address}/keys.json") as keys:
        await eventually(lambda: knows(keys, "rsa", "RS256"))
        file.write_bytes(issuer.key_set("ES256"))
        assert not knows(keys, "ec", "ES256")
        keys.missing()
        await eventually(lambda: knows(keys, "ec", "ES256"))
        assert not knows(keys, "rsa", "RS256")
        assert (keys.reloads, keys.refused) == (2, False)


async def test_the_last_good_keys_stay_where_the_server_fails(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(issuer.key_set("RS256"))
    async with serving(tmp_path) as address, fetching(f"{address}/keys.json") as keys:
        await eventually(lambda: knows(keys, "rsa", "RS256"))
        for content in (b"<html>", b'{"keys": []}', None):
            file.unlink() if content is None else file.write_bytes(content)
            keys.missing()
            await eventually(lambda: keys.refused)
            assert knows(keys, "rsa", "RS256")
            file.write_bytes(issuer.key_set("RS256", "ES256"))
            await eventually(lambda: not keys.refused)
    reasons = [vars(one)["reason"] for one in caplog.records if one.getMessage() == SAID]
    assert len(reasons) == 3
    assert "no public key for signatures" in reasons[1]
    assert "404" in reasons[2]


@pytest.mark.parametrize(
    ("path", "said"), [("slow", "it took too long"), ("huge", "larger than"), ("elsewhere", "302")]
)
async def test_answers_that_are_not_taken(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture, path: str, said: str
) -> None:
    (tmp_path / "keys.json").write_bytes(issuer.key_set())
    async with serving(tmp_path) as address, fetching(f"{address}/{path}") as keys:
        await eventually(lambda: keys.refused)
        assert keys.keys is None
    (reason,) = [vars(one)["reason"] for one in caplog.records if one.getMessage() == SAID]
    assert said in reason


@pytest.mark.long
async def test_a_server_that_holds_a_fetch_up_holds_one_thread(tmp_path: Path) -> None:
    async with serving(tmp_path) as address, fetching(f"{address}/slow") as keys:
        await eventually(lambda: keys.refused)
        await asyncio.sleep(3)  # the next fetch would have begun after 2 s
        assert [one.name for one in enumerate_threads()].count("token keys") == 1


async def test_over_tls_with_an_authority_of_ones_own(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path, "authority")
    stranger = Authority(tmp_path, "stranger")
    (tmp_path / "keys.json").write_bytes(issuer.key_set())
    async with serving(tmp_path, *authority.signed("issuer")) as address:
        url = f"{address}/keys.json"
        async with fetching(url, str(authority.certificate)) as keys:
            await eventually(lambda: knows(keys, "rsa", "RS256"))
        for authorities in ("", str(stranger.certificate)):
            caplog.clear()
            async with fetching(url, authorities) as keys:
                await eventually(lambda keys=keys: keys.refused)
                assert keys.keys is None
            (reason,) = [vars(one)["reason"] for one in caplog.records if one.getMessage() == SAID]
            assert "certificate verify failed" in reason


async def test_a_proxy_is_not_asked_for_keys_of_this_machine(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://localhost:9")
    (tmp_path / "keys.json").write_bytes(issuer.key_set())
    async with serving(tmp_path) as address, fetching(f"{address}/keys.json") as keys:
        await eventually(lambda: knows(keys, "rsa", "RS256"))


def test_a_file_of_authorities_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"HUB_JWT_CA names .*none, which cannot be used"):
        FetchedKeys("https://localhost/", "HUB_JWT_KEYS", str(tmp_path / "none"))
