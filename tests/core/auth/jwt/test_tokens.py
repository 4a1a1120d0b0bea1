"""JWTs: who is behind a good one, and a corpus of bad ones, each refused with the sentence that helps."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import RSAKey

from inferencehub.core.auth.jwt.claims import ClaimTable
from inferencehub.core.auth.jwt.public_keys import MountedKeys
from inferencehub.core.auth.jwt.rules import TokenRules
from inferencehub.core.auth.jwt.tokens import LEEWAY_S, MOST_BYTES, MOST_KNOWN, MOST_REFUSED, Tokens
from inferencehub.core.values.errors import HubError, Kind
from tests.issuer import AUDIENCE, NAME, Issuer

UNREADABLE = "the token cannot be read, expected a signed JWT"
WRONG_SIGNATURE = "the signature of the token is wrong"
UNKNOWN_KEY = "the key that signed the token is unknown"
OTHER_ALGORITHM = "the token has another algorithm, expected RS256 or ES256 or EdDSA"
NO_TIME = "the token is refused: its claim 'exp' is not there, or not a time"
NOT_FOR_US = "the token is refused: it is not for 'hub, hub-2'"


@pytest.fixture
def file(tmp_path: Path, issuer: Issuer) -> Path:
    """The issuer's public keys."""
    made = tmp_path / "keys.json"
    made.write_bytes(issuer.key_set())
    return made


@pytest.fixture
def source(file: Path) -> MountedKeys:
    return MountedKeys(str(file), "HUB_JWT_KEYS")


@pytest.fixture
def tokens(source: MountedKeys) -> Tokens:
    rules = TokenRules(NAME, [AUDIENCE, "hub-2"], ["RS256", "ES256", "EdDSA"], ClaimTable())
    return Tokens(rules, source)


def refusal(tokens: Tokens, token: str | bytes) -> str:
    """The sentence with which a token is refused."""
    with pytest.raises(HubError) as caught:
        tokens.caller(token if isinstance(token, bytes) else token.encode())
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.detail


def part(value: Any) -> str:
    """A part of a token, as base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(issuer: Issuer, payload: bytes, **head: Any) -> str:
    """A token with these bytes as claims, and any head."""
    head = {"alg": "RS256", "kid": "rsa", **head}
    text = f"{part({name: value for name, value in head.items() if value is not None})}.{part(payload)}"
    key = issuer.keys["RS256"]
    assert isinstance(key, RSAKey)
    assert key.private_key is not None
    return f"{text}.{part(key.private_key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def claims(issuer: Issuer) -> bytes:
    """Those of a good token."""
    return json.dumps(claims_of(issuer.token())).encode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("named", [True, False])
def test_a_good_token(tokens: Tokens, issuer: Issuer, algorithm: str, named: bool) -> None:
    """Also one that does not name its key, where only one fits."""
    token = issuer.token(algorithm, sub="robot-7", aud=["x", "hub-2"])
    if not named:
        head = {"alg": algorithm}
        token = jwt.encode(head, claims_of(token), issuer.keys[algorithm], algorithms=[algorithm])
    for _ in range(2):
        caller = tokens.caller(token.encode())
        assert (caller.id, caller.tenant, caller.sees("any")) == ("robot-7", "", True)
        assert sorted(caller.actions) == ["describe", "infer"]


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def with_head(token: str, head: Any) -> str:
    return ".".join([part(head), *token.split(".")[1:]])


def of_another(issuer: Issuer) -> str:
    stranger = RSAKey.generate_key(2048, {"kid": "rsa"})
    return jwt.encode({"alg": "RS256", "kid": "rsa"}, claims_of(issuer.token()), stranger)


def by_public_key(issuer: Issuer) -> str:
    """Signed with a shared secret that everybody knows: the public key."""
    text = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(claims(issuer))}"
    secret = issuer.keys["RS256"].as_pem(private=False)
    return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256'))}"


# Each with what is wrong, how it is made, and the sentence.
BAD: dict[str, tuple[Callable[[Issuer], str | bytes], str]] = {
    "alg none": (lambda i: f"{part({'alg': 'none'})}.{part(claims_of(i.token()))}.", OTHER_ALGORITHM),
    "alg None": (lambda i: f"{part({'alg': 'None'})}.{part(claims_of(i.token()))}.", OTHER_ALGORITHM),
    "alg none, a signature": (lambda i: with_head(i.token(), {"alg": "none"}), OTHER_ALGORITHM),
    "no alg": (lambda i: signed(i, claims(i), alg=None), UNREADABLE),
    "alg a list": (lambda i: signed(i, claims(i), alg=["RS256"]), UNREADABLE),
    "the public key as a secret": (by_public_key, OTHER_ALGORITHM),
    "another kind of key": (lambda i: with_head(i.token(), {"alg": "ES256", "kid": "rsa"}), UNKNOWN_KEY),
    "an algorithm that is not ours": (lambda i: with_head(i.token(), {"alg": "PS256", "kid": "rsa"}), OTHER_ALGORITHM),
    "a key of its own": (
        lambda i: with_head(of_another(i), {"alg": "RS256", "jwk": RSAKey.generate_key(2048).as_dict(private=False)}),
        UNREADABLE,
    ),
    "a URL of its own": (
        lambda i: with_head(of_another(i), {"alg": "RS256", "jku": "http://127.0.0.1:1/keys"}), WRONG_SIGNATURE
    ),
    "an unknown key": (lambda i: i.token(head={"kid": "other"}), UNKNOWN_KEY),
    "a key's name that is no text": (lambda i: signed(i, claims(i), kid=["rsa"]), UNREADABLE),
    "a path as a key's name": (lambda i: i.token(head={"kid": "../../dev/null"}), UNKNOWN_KEY),
    "signed by another": (of_another, WRONG_SIGNATURE),
    "a changed claim": (
        lambda i: ".".join([(p := i.token().split("."))[0], part({**claims_of(i.token()), "sub": "eve"}), p[2]]),
        WRONG_SIGNATURE,
    ),
    "a changed signature": (lambda i: i.token()[:-4] + "AAAA", WRONG_SIGNATURE),
    "no signature": (lambda i: i.token().rpartition(".")[0] + ".", WRONG_SIGNATURE),
    "a demand that is unknown": (lambda i: signed(i, claims(i), crit=["x"], x=1), UNREADABLE),
    "claims that are not encoded": (
        lambda i: with_head(i.token(), {"alg": "RS256", "kid": "rsa", "b64": False, "crit": ["b64"]}), WRONG_SIGNATURE
    ),
    "expired": (lambda i: i.token(exp=int(time()) - LEEWAY_S - 2), "the token has expired"),
    "expired long ago": (lambda i: i.token(exp=-1), "the token has expired"),
    "without an end": (lambda i: i.token(exp=None), NO_TIME),
    "its end is a text": (lambda i: i.token(exp="2099"), NO_TIME),
    "its end is true": (lambda i: i.token(exp=True), NO_TIME),
    "its end is no number": (
        lambda i: signed(i, json.dumps({**claims_of(i.token()), "exp": float("nan")}).encode()), NO_TIME
    ),
    "its end is infinite": (
        lambda i: signed(i, json.dumps({**claims_of(i.token()), "exp": 0}).replace('"exp": 0', '"exp": 1e999').encode()),
        NO_TIME,
    ),
    "from the future": (
        lambda i: i.token(iat=int(time()) + LEEWAY_S + 9), "the token is refused: it was issued in the future"
    ),
    "not yet valid": (lambda i: i.token(nbf=int(time()) + LEEWAY_S + 9), "the token is refused: it is not valid yet"),
    "another issuer": (
        lambda i: i.token(iss="https://eve.example"), f"the token is refused: its issuer is not '{NAME}'"
    ),
    "an issuer that begins so": (lambda i: i.token(iss=NAME + ".eve"), f"the token is refused: its issuer is not '{NAME}'"),
    "no issuer": (lambda i: i.token(iss=None), f"the token is refused: its issuer is not '{NAME}'"),
    "issuers": (lambda i: i.token(iss=[NAME]), f"the token is refused: its issuer is not '{NAME}'"),
    "for others": (lambda i: i.token(aud="shop"), NOT_FOR_US),
    "for nobody": (lambda i: i.token(aud=None), NOT_FOR_US),
    "for an object": (lambda i: i.token(aud={"hub": 1}), NOT_FOR_US),
    "no subject": (
        lambda i: i.token(sub=None), "the token is refused: its claim 'sub' must be a text of 1 to 200 printable characters"
    ),
    "a number as subject": (
        lambda i: i.token(sub=7), "the token is refused: its claim 'sub' is of a wrong kind"
    ),
    "huge": (lambda i: i.token(more="x" * 2 * MOST_BYTES), "expected at most 16384"),
    "deep": (lambda i: signed(i, b"[" * 9000), UNREADABLE),
    "a list": (lambda i: signed(i, b"[]"), UNREADABLE),
    "not UTF-8": (lambda i: signed(i, b'{"iss": "\xff"}'), UNREADABLE),
    "not JSON": (lambda i: signed(i, b"iss=1"), UNREADABLE),
    "encrypted": (lambda i: "e30.AA.AA.AA.AA", UNREADABLE),
    "two parts": (lambda i: i.token().rpartition(".")[0], UNREADABLE),
    "four parts": (lambda i: i.token() + ".AA", UNREADABLE),
    "nothing": (lambda i: "..", UNREADABLE),
    "not base64": (lambda i: "!!.!!.!!", UNREADABLE),
    "null as head": (lambda i: with_head(i.token(), None), UNREADABLE),
    "bytes": (lambda i: b"\xff.\x00.\xfe", UNREADABLE),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_token(tokens: Tokens, issuer: Issuer, what: str) -> None:
    make, sentence = BAD[what]
    token = make(issuer)
    first = refusal(tokens, token)
    assert sentence in first
    assert refusal(tokens, token) == first, "the second time, too"


def test_clocks_may_differ_by_half_a_minute(tokens: Tokens, issuer: Issuer) -> None:
    now = int(time())
    changes: list[dict[str, Any]] = [
        {"exp": now - LEEWAY_S + 5},
        {"nbf": now + LEEWAY_S - 5},
        {"iat": now + LEEWAY_S - 5},
    ]
    for change in changes:
        assert tokens.caller(issuer.token(**change).encode()).id == "ada"


def test_parameters_of_a_head_that_nobody_knows_are_ignored(tokens: Tokens, issuer: Issuer) -> None:
    """RFC 7515, 4."""
    token = signed(issuer, claims(issuer), **{"nonce": "1", "x-tenant": 7})
    assert tokens.caller(token.encode()).id == "ada"


def test_a_token_that_was_seen_ends_in_time(tokens: Tokens, issuer: Issuer) -> None:
    token = issuer.token().encode()
    assert tokens.caller(token).id == "ada"
    kept = tokens._verified
    (digest,) = kept
    kept[digest] = kept[digest]._replace(until=time() - 1)
    assert refusal(tokens, token) == "the token has expired"


def test_a_withdrawn_key_ends_its_tokens_and_a_new_one_begins(
    tokens: Tokens, source: MountedKeys, file: Path, issuer: Issuer
) -> None:
    old, new = issuer.token("RS256").encode(), issuer.token("ES256").encode()
    file.write_bytes(issuer.key_set("RS256"))
    source.look()
    assert tokens.caller(old).id == "ada"
    assert refusal(tokens, new) == UNKNOWN_KEY
    file.write_bytes(issuer.key_set("ES256"))
    source.look()
    assert tokens.caller(new).id == "ada"
    assert refusal(tokens, old) == UNKNOWN_KEY


def test_strangers_fill_no_memory(tokens: Tokens, issuer: Issuer) -> None:
    good = issuer.token("EdDSA").encode()
    tokens.caller(good)
    for number in range(MOST_REFUSED + 100):
        refusal(tokens, f"{number}..")
    assert len(tokens._refused) == MOST_REFUSED
    assert tokens._refused.get(sha256(b"0..").digest()) is None
    assert len(tokens._verified) == 1 < MOST_KNOWN
