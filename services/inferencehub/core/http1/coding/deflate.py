"""Compresses answers for callers that accept it (RFC 9110 12.5.3), where it pays."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

from inferencehub.core.values.tensors import Buffer

GZIP, DEFLATE = b"gzip", b"deflate"
WINDOW_BITS = {GZIP: 31, DEFLATE: 15}
LEVEL = 1  # numbers hardly get smaller at a higher level, and take several times as long
WORTH = 2**11  # bytes from which on an answer is compressed: less fits into two packets anyway
SAMPLE = 2**14  # bytes that show whether a large answer gets smaller at all
MOST_LEFT = 0.9  # the largest part of an answer that may be left, or it is sent as it is
VARY = b"vary: accept-encoding\r\n"
WEIGHT = re.compile(rb"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


@lru_cache(maxsize=256)  # a caller sends the same header each time
def coding_for(accepted: bytes) -> bytes:
    """The coding for the value of an Accept-Encoding header; b"" for none.

    It is the one with the highest weight that is not below the weight of an answer as it is; gzip if both have it. A
    weight that cannot be read is 0.
    """
    weights: dict[bytes, float] = {}
    for item in accepted.lower().split(b","):
        name, *parameters = [part.strip() for part in item.split(b";")]
        weights[name] = weight_of(parameters)
    others = weights.get(b"*", 0.0)
    gzip = max(weights.get(GZIP, others), weights.get(b"x-gzip", 0.0))
    deflate = weights.get(DEFLATE, others)
    best = max(gzip, deflate)
    if not best or best < weights.get(b"identity", 0.0):
        return b""
    return GZIP if gzip == best else DEFLATE


def weight_of(parameters: Sequence[bytes]) -> float:
    """The weight among the parameters of a coding; 1 if there is none. Other parameters mean nothing here."""
    for parameter in parameters:
        if parameter.partition(b"=")[0].strip() == b"q":
            match = WEIGHT.fullmatch(parameter)
            return float(match[1]) if match else 0.0
    return 1.0


def deflated(parts: Sequence[Buffer], coding: bytes) -> list[bytes]:
    """The parts of an answer, compressed; [] if that is not worth it. It takes about a second for 50 MB."""
    size = sum(map(len, parts))
    if size > 2 * SAMPLE and not shrinks(max(parts, key=len), coding):
        return []
    stream = zlib.compressobj(LEVEL, wbits=WINDOW_BITS[coding])
    packed = [stream.compress(part) for part in parts]
    packed.append(stream.flush())
    return packed if sum(map(len, packed)) < MOST_LEFT * size else []


def shrinks(part: Buffer, coding: bytes) -> bool:
    """Whether a sample from the middle of an answer's largest part gets smaller."""
    view = memoryview(part)
    middle = max(0, len(view) - SAMPLE) // 2
    sample = view[middle : middle + SAMPLE]
    return len(zlib.compress(sample, LEVEL)) < MOST_LEFT * len(sample)
