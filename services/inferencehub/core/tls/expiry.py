"""When a certificate ends, read out of its DER (RFC 5280 4.1).

The standard library shows it only for the other side's, and pods have no library for certificates.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
SEQUENCE, CONTEXT_0 = 0x30, 0xA0
FORMATS = {
    0x17: "%y%m%d%H%M%SZ",
    0x18: "%Y%m%d%H%M%SZ",
}  # UTCTime, whose years are 1950 to 2049, and GeneralizedTime
BEFORE_VALIDITY = 3  # serial number, algorithm and issuer


def end_of(chain: bytes) -> float | None:
    """When the first certificate of a chain ends that does, in Unix time.

    Args:
        chain: certificates as PEM; text between them is passed over.

    Returns:
        None if there is no certificate, or one can't be read: who uses it has said so already.
    """
    try:
        return min(not_after(base64.b64decode(body)) for body in PEM.findall(chain))
    except (ValueError, IndexError, KeyError):
        return None


def not_after(der: bytes) -> float:
    """When a certificate ends, in Unix time.

    Raises:
        ValueError, IndexError, KeyError: if it is no certificate.
    """
    _, at, _ = element(der, 0)  # Certificate
    _, at, _ = element(der, at)  # TBSCertificate
    tag, _, end = element(der, at)
    if tag == CONTEXT_0:  # the version, which certificates of version 1 do not have
        at = end
    for _ in range(BEFORE_VALIDITY):
        at = element(der, at)[2]
    tag, at, _ = element(der, at)
    if tag != SEQUENCE:
        raise ValueError("no validity")
    _, _, at = element(der, at)  # notBefore
    tag, at, end = element(der, at)
    when = datetime.strptime(der[at:end].decode("ascii"), FORMATS[tag]).replace(tzinfo=UTC)
    if tag == 0x17 and when.year >= 2050:  # strptime takes 69 and later for the last century
        when = when.replace(year=when.year - 100)
    return when.timestamp()


def element(der: bytes, at: int) -> tuple[int, int, int]:
    """Of the element at an offset: its tag, where its contents begin, and where they end."""
    tag, size, begin = der[at], der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
    if begin + size > len(der):
        raise ValueError("a part is missing")
    return tag, begin, begin + size
