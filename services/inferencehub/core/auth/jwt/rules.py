"""What a JWT must have to be taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from inferencehub.core.auth.jwt.claims import ClaimTable

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ELLIPTIC = ("ES256", "ES384", "ES512")
EDWARDS = ("EdDSA", "Ed25519")
# Those with a shared secret, HS256 and so on, are not among them: whoever can verify a token of theirs can make one.
ALGORITHMS = (*RSA, *ELLIPTIC, *EDWARDS)


class TokenRules(NamedTuple):
    """What a JWT must have: this issuer, one of these audiences, one of these algorithms.

    `claims` says who its holder is.
    """

    issuer: str
    audiences: Sequence[str]
    algorithms: Sequence[str]
    claims: ClaimTable
