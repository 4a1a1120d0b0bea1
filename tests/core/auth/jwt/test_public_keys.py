"""Sets of keys: which are used, and what is refused by which sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from inferencehub.core.auth.jwt.public_keys import MountedKeys, PublicKeys, UnknownKey
from inferencehub.core.files.watched import BadFile
from tests.issuer import Issuer


def entries(issuer: Issuer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(issuer.key_set())["keys"]
    return found


def text(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_keys_of_other_kinds_are_left_out(issuer: Issuer) -> None:
    rsa = entries(issuer)[0]
    others = [
        {"kty": "oct", "k": "AAAA", "kid": "o"},
        {"kty": "AKP", "pub": "AA"},
        {**rsa, "use": "enc", "kid": "e"},
    ]
    keys = PublicKeys(text(*others, rsa))
    assert keys.find({"alg": "RS256", "kid": "rsa"}).kid == "rsa"
    for name in ("o", "e"):
        with pytest.raises(UnknownKey):
            keys.find({"alg": "RS256", "kid": name})


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "EC", "crv": "brainpoolP256r1", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X999", "x": "AA"},
        {"kty": "RSA", "e": "AQAB", "n": "_" * 170 + "w"},
        {"kty": "RSA"},
        {"kty": "EC", "crv": ["P-256"], "x": 1, "y": None},
    ],
)
def test_a_key_that_can_not_be_used_is_left_out_and_logged(
    issuer: Issuer, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    keys = PublicKeys(text({**odd, "kid": "odd"}, {**entries(issuer)[0], "use": None}))
    assert keys.find({"alg": "RS256", "kid": "rsa"}).kid == "rsa"
    (record,) = caplog.records
    assert "the key 'odd'" in vars(record)["reason"]


def test_a_key_for_one_algorithm_serves_no_other(issuer: Issuer) -> None:
    keys = PublicKeys(text({**entries(issuer)[0], "alg": "RS512"}))
    assert keys.find({"alg": "RS512", "kid": "rsa"}).kid == "rsa"
    with pytest.raises(UnknownKey):
        keys.find({"alg": "RS256", "kid": "rsa"})


def test_a_token_that_names_no_key_must_fit_only_one(issuer: Issuer) -> None:
    rsa = entries(issuer)[0]
    assert PublicKeys(text(rsa)).find({"alg": "RS256"}).kid == "rsa"
    with pytest.raises(UnknownKey):
        PublicKeys(text(rsa, {**rsa, "kid": "rsa-2"})).find({"alg": "RS256"})


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated"),
    "a certificate": (b"-----BEGIN CERTIFICATE-----", "malformed"),
    "a list": (b"[]", "Expected `object`, got `array`"),
    "no set": (b"{}", r"expected a JSON Web Key Set"),
    "a single key": (b'{"kty": "RSA"}', r"expected a JSON Web Key Set"),
    "deep": (b"[" * 100_000, r"\w"),
    "texts": (b'{"keys": ["a"]}', r"expected a JSON Web Key Set"),
    "none": (b'{"keys": []}', "it has no public key for signatures"),
    "only a secret": (text({"kty": "oct", "k": "AAAA"}), "it has no public key for signatures"),
    "half a key": (text({"kty": "RSA", "kid": "half"}), "the key 'half' cannot be read"),
    "not on its curve": (
        text({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off"}), "the key 'off' cannot be read"
    ),
    "a private one": (
        text(dict(RSAKey.generate_key(2048, {"kid": "mine"}).as_dict(private=True))), "the key 'mine' is private"
    ),
    "a short one": (
        text({"kty": "RSA", "kid": "short", "e": "AQAB", "n": "_" * 170 + "w"}),
        "the key 'short' has 1024 bits, expected 2048 or more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_set_is_refused(what: str, tmp_path: Path) -> None:
    content, said = BAD[what]
    with pytest.raises(ValueError, match=said):
        PublicKeys(content)
    file = tmp_path / "keys.json"
    file.write_bytes(content)
    with pytest.raises(BadFile, match=rf"HUB_JWT_KEYS \(.*keys.json\) cannot be used: .*{said}"):
        MountedKeys(str(file), "HUB_JWT_KEYS")
