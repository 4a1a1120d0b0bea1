"""Who is behind a JWT (RFC 7519): a token that an identity provider has signed.

Tokens are verified by `joserfc`. Its algorithms are those of a setting, never what the token's head says alone. A token
that was verified is known by its digest until it expires, and one that was refused until there are other keys; so each
costs some 50 µs once, and 1 µs after that.
"""

from __future__ import annotations

from hashlib import sha256
from time import time
from typing import Any, NamedTuple, TypeVar

from joserfc import jwt
from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    InvalidClaimError,
    MissingClaimError,
    UnsupportedAlgorithmError,
)
from joserfc.jws import JWSRegistry

from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.jwt.public_keys import KeySource, PublicKeys, UnknownKey
from inferencehub.core.auth.jwt.rules import TokenRules
from inferencehub.core.values.errors import HubError, Kind

MOST_BYTES = 16 * 2**10  # of a token
MOST_KNOWN, MOST_REFUSED = 10_000, 1_000  # tokens; the oldest goes first
LEEWAY_S = 30  # by which clocks may differ
Header = dict[str, Any]
T = TypeVar("T")
TIMES = ("nbf", "iat")  # claims that may be good a moment later


class Verified(NamedTuple):
    """A token that was verified: who is behind it, and until when, in Unix time."""

    caller: Caller
    until: float


class Tokens:
    """The tokens of one issuer.

    Args:
        rules: what they must have.
        source: the keys that verify them.
    """

    def __init__(self, rules: TokenRules, source: KeySource) -> None:
        self.source = source
        self._rules = rules
        self._keys: PublicKeys | None = None
        self._verified: dict[bytes, Verified] = {}
        self._refused: dict[bytes, str] = {}  # sentences
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": rules.issuer},
            aud={"essential": True, "values": list(rules.audiences)},
            exp={"essential": True},
        )
        # Unknown parameters of the head are ignored, as RFC 7515, 4 asks, but not those that `crit` names.
        self._registry = JWSRegistry(algorithms=list(rules.algorithms), strict_check_header=False)

    def caller(self, token: bytes) -> Caller:
        """Who is behind a token.

        Raises:
            HubError: UNAUTHENTICATED if it is not good, NOT_READY if the keys are not there yet.
        """
        keys = self.source.keys
        if keys is not self._keys:
            self._keys = keys
            self._verified.clear()
            self._refused.clear()
        digest = sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None:
            if time() <= known.until:
                return known.caller
            del self._verified[digest]
            raise HubError(Kind.UNAUTHENTICATED, "the token has expired")
        if digest in self._refused:
            raise HubError(Kind.UNAUTHENTICATED, self._refused[digest])
        if keys is None:
            raise HubError(Kind.NOT_READY, "the keys that verify tokens could not be fetched yet")
        try:
            verified = self._verify(token, keys)
        except Refused as refused:
            if not refused.may_change:
                keep(self._refused, digest, str(refused), MOST_REFUSED)
            raise HubError(Kind.UNAUTHENTICATED, str(refused)) from None
        keep(self._verified, digest, verified, MOST_KNOWN)
        return verified.caller

    def _verify(self, token: bytes, keys: PublicKeys) -> Verified:
        """Verify a token that is not known.

        Raises:
            Refused: if it is not good.
        """
        if len(token) > MOST_BYTES:
            raise Refused(f"the token has {len(token)} bytes, expected at most {MOST_BYTES}")
        try:
            found = jwt.decode(
                token, lambda read: keys.find(self._checked(read.headers())), registry=self._registry
            )
            self._claims.validate(found.claims)
            caller = self._rules.claims.caller(found.claims)
        except UnknownKey:
            self.source.missing()
            raise Refused("the key that signed the token is unknown") from None
        except Exception as error:  # readers of what strangers wrote may fail in any way
            claim = getattr(error, "claim", "")
            raise Refused(self._sentence(error), may_change=claim in TIMES) from None
        return Verified(caller, found.claims["exp"] + LEEWAY_S)

    def _checked(self, headers: Header) -> Header:
        """The head of a token, if its algorithm is one of ours: no key is looked for otherwise."""
        if headers.get("alg") not in self._rules.algorithms:
            raise UnsupportedAlgorithmError
        return headers

    def _sentence(self, error: Exception) -> str:
        """Why a token is refused."""
        rules = self._rules
        expected = {
            "iss": f"its issuer is not '{rules.issuer}'",
            "aud": f"it is not for '{', '.join(rules.audiences)}'",
            "exp": "its claim 'exp' is not there, or not a time",
            "nbf": "it is not valid yet",
            "iat": "it was issued in the future",
        }
        match error:
            case ExpiredTokenError():
                return "the token has expired"
            case BadSignatureError():
                return "the signature of the token is wrong"
            case UnsupportedAlgorithmError():
                return f"the token has another algorithm, expected {' or '.join(rules.algorithms)}"
            case MissingClaimError() | InvalidClaimError():
                wrong = f"its claim '{error.claim}' is of a wrong kind"
                return f"the token is refused: {expected.get(error.claim, wrong)}"
            case ValueError():
                return f"the token is refused: {error}"
        return "the token cannot be read, expected a signed JWT"


class Refused(Exception):
    """A token is not good. The text is for its holder; `may_change` says whether it may be good a moment later."""

    def __init__(self, text: str, may_change: bool = False) -> None:
        super().__init__(text)
        self.may_change = may_change


def keep(kept: dict[bytes, T], digest: bytes, value: T, most: int) -> None:
    """Keep a value; if there are too many, the oldest one goes."""
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[digest] = value
