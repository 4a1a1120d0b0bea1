"""How a version is chosen by weights: by chance, or by a value that always gives the same one. Pure but for chance."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import inf, log
from random import choices

STEPS = 2**64
LONG = 256  # bytes


def by_chance(weights: Mapping[str, float]) -> str:
    """One of some versions; each is drawn with the share that its weight, above 0, has of their sum."""
    (version,) = choices(list(weights), list(weights.values()))
    return version


def by_value(weights: Mapping[str, float], model: str, value: bytes) -> str:
    """The version that a value, such as the id of a user, always gets; over all values, each has its share.

    Each version throws dice for the value, which are loaded by its weight, and the best throw wins (weighted rendezvous
    hashing; Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005). So all gateways choose the same, and a
    value moves only to a version whose weight has grown relative to its own, or away from one that is gone. The model is
    part of the throw: who gets the canary of one model does not get the canaries of all.
    """
    best, chosen = inf, ""
    for version, weight in weights.items():
        digest = blake2b(b"%b\0%b\0%b" % (model.encode(), version.encode(), value), digest_size=8).digest()
        throw = -log((int.from_bytes(digest, "big") + 1) / STEPS) / weight
        if throw < best:
            best, chosen = throw, version
    return chosen


def short(value: bytes) -> bytes:
    """A value, or, in place of a long one, its digest, whose own short form is itself.

    Each job keeps one, and a batch has many jobs: a header of 60 KB would be in each of them.
    """
    return value if len(value) <= LONG else blake2b(value).digest()
